//! The place where REFER is looked at (RFC 3515).
//!
//! A REFER of one side is carried to the other with its Refer-To as it is, and so are the NOTIFYs that follow: the other
//! phone makes the call. What the server does itself in its stead begins here.

use super::B2bua;
use super::in_dialog::Came;
use crate::context::Context;

impl B2bua {
    /// A REFER within a dialog.
    pub(super) fn handle_refer(&mut self, cx: &mut Context<'_>, came: &Came<'_>) {
        self.carry(cx, came, |draft| draft);
    }
}
