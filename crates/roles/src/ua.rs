//! The user agent: its place in the engine. It has no calls yet and takes none.

use dialtone_transaction::ServerId;
use dialtone_wire::net::Flow;
use dialtone_wire::time::Instant;
use dialtone_wire::{Message, Status};

use crate::context::{Context, Failure, UaRequest};
use crate::io::Command;
use crate::settings::Robot;

/// What became of a server transaction of the user agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerEvent {
    /// Timer H.
    NoAck,
    /// The response could not be sent.
    TransportFailed,
    /// It is gone.
    Terminated,
}

/// The user agent of one engine.
#[derive(Debug)]
pub(crate) struct Ua {}

impl Ua {
    pub(crate) fn new(_seed: u64) -> Ua {
        Ua {}
    }

    pub(crate) fn command(&mut self, _cx: &mut Context<'_>, _command: Command) {}

    pub(crate) fn handle_response(
        &mut self,
        _cx: &mut Context<'_>,
        _request: UaRequest,
        _response: &Message,
    ) {
    }

    pub(crate) fn handle_failure(&mut self, _cx: &mut Context<'_>, _request: UaRequest, _failure: Failure) {}

    pub(crate) fn handle_request(
        &mut self,
        cx: &mut Context<'_>,
        server: ServerId,
        request: &Message,
        _flow: Flow,
        _as_robot: Option<&Robot>,
    ) {
        let tag = cx.token();
        cx.respond(server, request, Status::of(480), Some(&tag), |_| (), None);
    }

    pub(crate) fn handle_ack(&mut self, _cx: &mut Context<'_>, _ack: &Message) -> bool {
        false
    }

    pub(crate) fn handle_cancel(&mut self, _cx: &mut Context<'_>, _invite: ServerId) {}

    pub(crate) fn handle_server_event(
        &mut self,
        _cx: &mut Context<'_>,
        _server: ServerId,
        _event: ServerEvent,
    ) {
    }

    pub(crate) fn owns_dialog(&self, _message: &Message) -> bool {
        false
    }

    pub(crate) fn handle_timeout(&mut self, _cx: &mut Context<'_>) {}

    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        None
    }

    pub(crate) fn calls(&self) -> usize {
        0
    }
}
