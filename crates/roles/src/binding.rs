//! A binding (RFC 3261 §10): one contact of an address-of-record, and what its REGISTER said of it.

use std::num::NonZeroU32;
use std::sync::Arc;

use dialtone_wire::headers::Params;
use dialtone_wire::net::Flow;
use dialtone_wire::time::Instant;
use dialtone_wire::uri::UriBuf;
use smol_str::SmolStr;

/// One contact of an address-of-record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Where the user is.
    pub contact: UriBuf,
    /// Preference in thousandths: 0 to 1000.
    pub q_milli: u16,
    /// Until when.
    pub expires_at: Instant,
    /// Call-ID of the REGISTER that made it.
    pub call_id: SmolStr,
    /// CSeq of the REGISTER that made it.
    pub cseq: u32,
    /// The flow that the REGISTER came over; without a connection once that is gone and the contact may lead there.
    pub flow: Flow,
    /// Whether the contact is an address behind a NAT, so that only the flow leads to it.
    pub behind_nat: bool,
    /// What only some phones say; `None` where nothing of it was said.
    pub details: Option<Arc<Details>>,
}

/// What only some phones say of a contact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The parameters of the Contact value as they came, from the first `;` on, without `expires` and `q` and what a
    /// registrar sets itself: capabilities (RFC 3840), `+sip.instance`, `reg-id`.
    pub params: SmolStr,
    /// The Path values of the REGISTER in their order (RFC 3327): the route that requests to the contact take.
    pub path: Box<[SmolStr]>,
    /// The number of the flow within its instance, where RFC 5626 §6 lets it count.
    pub reg_id: Option<NonZeroU32>,
    /// What the temporary GRUUs of this instance have in common (RFC 5627 §5.1); 0 where it has none.
    pub gruu: u64,
}

impl Binding {
    /// The parameters of the contact, with their first `;`: capabilities (RFC 3840) and whatever else was said.
    pub fn params(&self) -> &str {
        self.details.as_ref().map_or("", |details| &details.params)
    }

    /// The Path values: what is pushed as Route on requests to the contact, the next hop first.
    pub fn path(&self) -> &[SmolStr] {
        self.details.as_ref().map_or(&[], |details| &details.path)
    }

    /// The device, as `+sip.instance` names it: usually `<urn:uuid:…>`.
    pub fn instance(&self) -> Option<&str> {
        instance_in(Params::parse(self.params())?)
    }

    /// The number of the flow within its instance, if this is a flow of RFC 5626.
    pub fn reg_id(&self) -> Option<NonZeroU32> {
        self.details.as_ref()?.reg_id
    }

    /// What the temporary GRUUs of its instance have in common; 0 where it has none.
    pub(crate) fn gruu(&self) -> u64 {
        self.details.as_ref().map_or(0, |details| details.gruu)
    }

    /// Whether it belongs to this device.
    pub fn is_of_instance(&self, instance: &str) -> bool {
        self.instance().is_some_and(|own| is_same_instance(own, instance))
    }

    /// Whether one takes the place of the other: the same flow of the same instance (RFC 5626 §6), else equivalent
    /// contacts (RFC 3261 §10.3).
    pub(crate) fn is_in_place_of(&self, other: &Binding) -> bool {
        match (self.reg_id(), other.reg_id()) {
            (None, None) => self.contact.uri().equivalent(&other.contact.uri()),
            (own, theirs) => {
                own == theirs && self.instance().is_some_and(|instance| other.is_of_instance(instance))
            }
        }
    }

    /// How many bytes it takes beside its own size, about.
    pub(crate) fn kept_bytes(&self) -> usize {
        let path: usize = self.path().iter().map(|value| value.len()).sum();
        self.contact.as_str().len() + self.call_id.len() + self.params().len() + path
    }
}

/// The device that the parameters of a Contact value name.
pub(crate) fn instance_in(params: Params<'_>) -> Option<&str> {
    params.value("+sip.instance").filter(|instance| !instance.is_empty())
}

/// URNs in any case (RFC 5626 §6; RFC 8141 §3.1). What is no URN is compared the same way.
pub(crate) fn is_same_instance(one: &str, other: &str) -> bool {
    let bare = |text| str::trim_matches(text, ['<', '>']).as_bytes();
    bare(one).eq_ignore_ascii_case(bare(other))
}
