//! What is heard of us in a call.

/// What the media plane sends into a call.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Play {
    /// Silence.
    Silence,
    /// A sine tone.
    Tone {
        /// Its frequency in Hz.
        hz: f32,
    },
    /// A synthetic signal that has the rhythm and bands of speech.
    SpeechLike {
        /// Chooses the signal.
        seed: u64,
    },
    /// What comes in goes back out.
    Echo,
    /// Samples of the owner's choice, known to the media plane by number.
    Prepared(u32),
    /// What is heard in the other calls of a conference, and this with it.
    Conference {
        /// The conference, by a number of its phone.
        number: u64,
        /// What else is played.
        own: Box<Play>,
    },
}
