//! Control and observation of a running server: a Unix socket in its data folder, and HTTP on the loopback.
//!
//! ```text
//!   dialtone user, status --socket--> thread of the connection --+-- store, users -> snapshots of the shards
//!   Prometheus ------------HTTP-----> thread of the connection --+-- Word::Report, Bindings, Calls -> shard
//!                                                                     answers within a second, or none <---'
//! ```
//!
//! No shard waits for any of it: a question is a word in its inbox, and what it looks at for one answer is bounded.

mod client;
mod csv;
mod dial;
mod handler;
mod http;
mod metrics;
mod peers;
mod services;
mod shards;
mod socket;
#[cfg(test)]
mod tests;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

pub use crate::subscribers::{NamedUser, Put, UserError};
pub use client::{AskError, Control};
pub use csv::{CsvError, CsvFault, FileUser, read_users};
pub(crate) use handler::{Facts, Handler};
pub(crate) use http::bind as bind_http;

use crate::running::StartError;
use crate::store::StoreError;
use crate::subscribers::Subscribers;

/// The name of the socket in the data folder.
pub const SOCKET_NAME: &str = "dialtone.sock";

/// What serves, until [`Controls::stop`].
pub(crate) struct Controls {
    handler: Arc<Handler>,
    socket: Option<socket::Socket>,
    http: Option<http::Http>,
}

impl Controls {
    /// Serves a socket, and HTTP, where they are given. The socket has a data folder and a path: where that is another
    /// one than [`SOCKET_NAME`] in the folder, a link there leads to it.
    pub(crate) fn start(
        handler: Handler,
        socket: Option<(&Path, &Path)>,
        http: Option<TcpListener>,
    ) -> Result<Controls, StartError> {
        let handler = Arc::new(handler);
        let socket = socket
            .map(|(folder, path)| {
                let opened = socket::Socket::open(path, handler.clone());
                let linked = opened.and_then(|opened| socket::link(folder, path).map(|()| opened));
                linked.map_err(|source| StoreError::File { path: path.to_path_buf(), source })
            })
            .transpose()?;
        let http = http.map(|listener| http::Http::open(listener, handler.clone())).transpose()?;
        Ok(Controls { handler, socket, http })
    }

    /// The users.
    pub(crate) fn subscribers(&self) -> &Subscribers {
        &self.handler.subscribers
    }

    /// Where HTTP listens.
    pub(crate) fn http(&self) -> Option<SocketAddr> {
        self.handler.facts.as_ref()?.http
    }

    /// Serves no longer. The data folder stays taken until [`Served::free`].
    pub(crate) fn stop(self) -> Served {
        if let Some(socket) = self.socket {
            socket.close();
        }
        if let Some(http) = self.http {
            http.close();
        }
        Served(self.handler)
    }
}

/// What connections that are still open may hold.
pub(crate) struct Served(Arc<Handler>);

impl Served {
    /// Gives the store back, whoever still asks.
    pub(crate) fn free(self) {
        self.0.subscribers.close();
    }
}
