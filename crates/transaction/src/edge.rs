//! The arrows of the four figures, so that tests and simulations can count how often each was taken.

macro_rules! edges {
    ($(#[$meta:meta])* $name:ident { $($variant:ident: $label:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $(#[doc = $label] $variant,)*
        }

        impl $name {
            /// Every arrow of the figure, in the order of its states.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            /// The arrow in words: state, event, next state.
            pub const fn label(self) -> &'static str {
                match self { $($name::$variant => $label,)* }
            }
        }

        impl From<$name> for Edge {
            fn from(edge: $name) -> Edge {
                Edge::$name(edge)
            }
        }
    };
}

edges! {
    /// The arrows of the INVITE client transaction (RFC 6026 §8.4, Figure 5).
    InviteClientEdge {
        Start: "INVITE client: start, INVITE from TU -> Calling",
        CallingTimerA: "INVITE client: Calling, Timer A -> Calling",
        CallingTimerB: "INVITE client: Calling, Timer B -> Terminated",
        CallingTransportError: "INVITE client: Calling, transport error -> Terminated",
        CallingProvisional: "INVITE client: Calling, 1xx -> Proceeding",
        CallingSuccess: "INVITE client: Calling, 2xx -> Accepted",
        CallingFailure: "INVITE client: Calling, 300-699 -> Completed",
        ProceedingProvisional: "INVITE client: Proceeding, 1xx -> Proceeding",
        ProceedingSuccess: "INVITE client: Proceeding, 2xx -> Accepted",
        ProceedingFailure: "INVITE client: Proceeding, 300-699 -> Completed",
        CompletedFailure: "INVITE client: Completed, 300-699 -> Completed",
        CompletedTransportError: "INVITE client: Completed, transport error -> Terminated",
        CompletedTimerD: "INVITE client: Completed, Timer D -> Terminated",
        AcceptedSuccess: "INVITE client: Accepted, 2xx -> Accepted",
        AcceptedTimerM: "INVITE client: Accepted, Timer M -> Terminated",
    }
}

edges! {
    /// The arrows of the non-INVITE client transaction (RFC 3261 §17.1.2, Figure 6).
    NonInviteClientEdge {
        Start: "non-INVITE client: start, request from TU -> Trying",
        TryingTimerE: "non-INVITE client: Trying, Timer E -> Trying",
        TryingTimerF: "non-INVITE client: Trying, Timer F -> Terminated",
        TryingTransportError: "non-INVITE client: Trying, transport error -> Terminated",
        TryingProvisional: "non-INVITE client: Trying, 1xx -> Proceeding",
        TryingFinal: "non-INVITE client: Trying, 200-699 -> Completed",
        ProceedingTimerE: "non-INVITE client: Proceeding, Timer E -> Proceeding",
        ProceedingTimerF: "non-INVITE client: Proceeding, Timer F -> Terminated",
        ProceedingTransportError: "non-INVITE client: Proceeding, transport error -> Terminated",
        ProceedingProvisional: "non-INVITE client: Proceeding, 1xx -> Proceeding",
        ProceedingFinal: "non-INVITE client: Proceeding, 200-699 -> Completed",
        CompletedTimerK: "non-INVITE client: Completed, Timer K -> Terminated",
    }
}

edges! {
    /// The arrows of the INVITE server transaction (RFC 6026 §8.6, Figure 7).
    InviteServerEdge {
        Start: "INVITE server: start, INVITE -> Proceeding",
        ProceedingInvite: "INVITE server: Proceeding, INVITE -> Proceeding",
        ProceedingProvisional: "INVITE server: Proceeding, 101-199 from TU -> Proceeding",
        ProceedingTransportError: "INVITE server: Proceeding, transport error -> Proceeding",
        ProceedingSuccess: "INVITE server: Proceeding, 2xx from TU -> Accepted",
        ProceedingFailure: "INVITE server: Proceeding, 300-699 from TU -> Completed",
        CompletedInvite: "INVITE server: Completed, INVITE -> Completed",
        CompletedTimerG: "INVITE server: Completed, Timer G -> Completed",
        CompletedTransportError: "INVITE server: Completed, transport error -> Completed",
        CompletedAck: "INVITE server: Completed, ACK -> Confirmed",
        CompletedTimerH: "INVITE server: Completed, Timer H -> Terminated",
        ConfirmedTimerI: "INVITE server: Confirmed, Timer I -> Terminated",
        AcceptedInvite: "INVITE server: Accepted, INVITE -> Accepted",
        AcceptedTransportError: "INVITE server: Accepted, transport error -> Accepted",
        AcceptedAck: "INVITE server: Accepted, ACK -> Accepted",
        AcceptedSuccess: "INVITE server: Accepted, 2xx from TU -> Accepted",
        AcceptedTimerL: "INVITE server: Accepted, Timer L -> Terminated",
    }
}

edges! {
    /// The arrows of the non-INVITE server transaction (RFC 3261 §17.2.2, Figure 8).
    NonInviteServerEdge {
        Start: "non-INVITE server: start, request -> Trying",
        TryingProvisional: "non-INVITE server: Trying, 1xx from TU -> Proceeding",
        TryingFinal: "non-INVITE server: Trying, 200-699 from TU -> Completed",
        ProceedingRequest: "non-INVITE server: Proceeding, request -> Proceeding",
        ProceedingProvisional: "non-INVITE server: Proceeding, 1xx from TU -> Proceeding",
        ProceedingTransportError: "non-INVITE server: Proceeding, transport error -> Terminated",
        ProceedingFinal: "non-INVITE server: Proceeding, 200-699 from TU -> Completed",
        CompletedRequest: "non-INVITE server: Completed, request -> Completed",
        CompletedTransportError: "non-INVITE server: Completed, transport error -> Terminated",
        CompletedTimerJ: "non-INVITE server: Completed, Timer J -> Terminated",
    }
}

/// An arrow of one of the four figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Edge {
    /// An arrow of Figure 5.
    InviteClientEdge(InviteClientEdge),
    /// An arrow of Figure 6.
    NonInviteClientEdge(NonInviteClientEdge),
    /// An arrow of Figure 7.
    InviteServerEdge(InviteServerEdge),
    /// An arrow of Figure 8.
    NonInviteServerEdge(NonInviteServerEdge),
}

const FIGURE_6: usize = InviteClientEdge::ALL.len();
const FIGURE_7: usize = FIGURE_6 + NonInviteClientEdge::ALL.len();
const FIGURE_8: usize = FIGURE_7 + InviteServerEdge::ALL.len();

impl Edge {
    /// How many arrows the four figures have together.
    pub const COUNT: usize = FIGURE_8 + NonInviteServerEdge::ALL.len();

    /// Every arrow, figure by figure.
    pub fn all() -> impl Iterator<Item = Edge> {
        let clients = InviteClientEdge::ALL.iter().map(|edge| Edge::from(*edge));
        let clients = clients.chain(NonInviteClientEdge::ALL.iter().map(|edge| Edge::from(*edge)));
        let servers = InviteServerEdge::ALL.iter().map(|edge| Edge::from(*edge));
        clients.chain(servers).chain(NonInviteServerEdge::ALL.iter().map(|edge| Edge::from(*edge)))
    }

    /// The arrow in words: figure, state, event, next state.
    pub const fn label(self) -> &'static str {
        match self {
            Edge::InviteClientEdge(edge) => edge.label(),
            Edge::NonInviteClientEdge(edge) => edge.label(),
            Edge::InviteServerEdge(edge) => edge.label(),
            Edge::NonInviteServerEdge(edge) => edge.label(),
        }
    }

    /// The place of the arrow in [`Edge::all`].
    pub const fn index(self) -> usize {
        match self {
            Edge::InviteClientEdge(edge) => edge as usize,
            Edge::NonInviteClientEdge(edge) => FIGURE_6 + edge as usize,
            Edge::InviteServerEdge(edge) => FIGURE_7 + edge as usize,
            Edge::NonInviteServerEdge(edge) => FIGURE_8 + edge as usize,
        }
    }
}

/// How often each arrow was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeCounts([u64; Edge::COUNT]);

impl Default for EdgeCounts {
    fn default() -> EdgeCounts {
        EdgeCounts([0; Edge::COUNT])
    }
}

impl EdgeCounts {
    /// Counts one passage along the arrow, if there was one.
    pub fn count(&mut self, edge: Option<Edge>) {
        if let Some(edge) = edge {
            self.0[edge.index()] += 1;
        }
    }

    /// How often `edge` was taken.
    pub const fn of(&self, edge: Edge) -> u64 {
        self.0[edge.index()]
    }

    /// Every arrow with its count, in the order of [`Edge::all`].
    pub fn iter(&self) -> impl Iterator<Item = (Edge, u64)> {
        Edge::all().zip(self.0)
    }

    /// Adds the counts of another layer.
    pub fn add(&mut self, other: &EdgeCounts) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_edge_has_its_own_place_and_name() {
        let edges: Vec<Edge> = Edge::all().collect();
        assert_eq!(edges.len(), Edge::COUNT);
        assert!(edges.iter().enumerate().all(|(place, edge)| edge.index() == place));
        let mut labels: Vec<&str> = edges.iter().map(|edge| edge.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Edge::COUNT);
    }

    #[test]
    fn counts_add_up_over_several_layers() {
        let edge = Edge::from(InviteServerEdge::AcceptedAck);
        let mut counts = EdgeCounts::default();
        counts.count(Some(edge));
        counts.count(None);
        let mut sum = counts.clone();
        sum.add(&counts);
        assert_eq!(sum.of(edge), 2);
        assert_eq!(sum.iter().map(|(_, count)| count).sum::<u64>(), 2);
    }
}
