//! The user part of our Contact.

use smol_str::SmolStr;

/// Who we are in the Contact of a dialog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContactUser {
    name: SmolStr,
    is_focus: bool,
}

impl ContactUser {
    /// The focus of a conference, whose URI has this user part (RFC 4579 §3.3; RFC 3840 §9 for `isfocus`).
    pub(crate) const fn focus(name: SmolStr) -> ContactUser {
        ContactUser { name, is_focus: true }
    }

    /// The user part, unescaped.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The parameters of the Contact value, each after a semicolon.
    pub(crate) const fn params(&self) -> &'static str {
        if self.is_focus { ";isfocus" } else { "" }
    }

    /// The user part of the URI of the conference that it is the focus of.
    pub(crate) fn conference(&self) -> Option<&SmolStr> {
        self.is_focus.then_some(&self.name)
    }
}

impl From<SmolStr> for ContactUser {
    fn from(name: SmolStr) -> ContactUser {
        ContactUser { name, is_focus: false }
    }
}
