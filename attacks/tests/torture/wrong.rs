//! What can go wrong in a round, by what it would mean to a user.

use std::fmt;

use memring::End;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message that was published did not come.
    Lost,
    /// A message came that nobody sent so.
    Torn,
    /// A death was taken for a close, or the other way round.
    Mixed,
    /// Something of the session is held still.
    Leaked,
    /// Anything else, such as waiting in vain.
    Failed,
}

#[derive(Debug)]
pub struct Wrong {
    pub kind: Kind,
    what: String,
}

impl Wrong {
    pub fn lost(what: impl fmt::Display) -> Self {
        Self { kind: Kind::Lost, what: what.to_string() }
    }

    pub fn torn(what: impl fmt::Display) -> Self {
        Self { kind: Kind::Torn, what: what.to_string() }
    }

    /// A direction ended otherwise than it had to.
    pub fn ended(end: &End, what: impl fmt::Display) -> Self {
        // No peer here lies, so a broken rule is bytes that arrived otherwise than they were sent.
        let kind = if let End::Fault(_) = end { Kind::Torn } else { Kind::Mixed };
        Self { kind, what: format!("{end:?} {what}") }
    }

    pub fn leaked(what: impl fmt::Display) -> Self {
        Self { kind: Kind::Leaked, what: what.to_string() }
    }

    pub fn failed(what: impl fmt::Display) -> Self {
        Self { kind: Kind::Failed, what: what.to_string() }
    }
}

impl Wrong {
    /// What another process said by `Display`.
    pub fn heard(said: &str) -> Self {
        let kinds = [Kind::Lost, Kind::Torn, Kind::Mixed, Kind::Leaked];
        let (name, what) = said.split_once(": ").unwrap_or(("", said));
        let kind = kinds.into_iter().find(|kind| format!("{kind:?}") == name);
        Self { kind: kind.unwrap_or(Kind::Failed), what: format!("the victim: {what}") }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.what)
    }
}
