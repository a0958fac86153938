//! The phases of a run: which kind of hog is among the light requests.

/// A phase of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Quiet,
    Compute,
    Sleep,
    Lock,
    File,
}

impl Phase {
    pub const ALL: [Phase; 5] =
        [Phase::Quiet, Phase::Compute, Phase::Sleep, Phase::Lock, Phase::File];

    /// What the hogs ask for; there are none in the quiet phase.
    pub fn path(self) -> Option<&'static str> {
        match self {
            Phase::Quiet => None,
            Phase::Compute => Some("/compute"),
            Phase::Sleep => Some("/sleep"),
            Phase::Lock => Some("/lock"),
            Phase::File => Some("/file"),
        }
    }

    /// What happens in it.
    pub fn title(self) -> &'static str {
        match self {
            Phase::Quiet => "no hogs",
            Phase::Compute => "compute 200 ms",
            Phase::Sleep => "thread::sleep",
            Phase::Lock => "contended Mutex",
            Phase::File => "read a big file",
        }
    }
}
