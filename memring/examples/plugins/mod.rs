//! What `plugin_host` and `plugin` are both compiled from: what each serves to the other. In real programs this is a crate of
//! its own.

use std::fmt;

/// A template cannot be filled in.
#[memring::message]
#[derive(Debug)]
pub enum TemplateError {
    /// A `{` has no `}`.
    Unclosed,
    /// The host knows nothing of this name.
    Unknown(String),
    /// The host could not be asked.
    Host(String),
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unclosed => f.write_str("a `{` has no `}`"),
            Self::Unknown(name) => write!(f, "nobody knows what `{name}` is"),
            Self::Host(why) => write!(f, "asking the host: {why}"),
        }
    }
}

impl std::error::Error for TemplateError {}

/// What a plugin does for its host.
#[memring::interface(name = "plugin", version = "1")]
pub trait Plugin {
    /// Puts in what stands for each `{name}`.
    fn fill_in(template: &str) -> Result<String, TemplateError>;
}

/// What a host does for its plugins, which can do nothing by themselves.
#[memring::interface(name = "plugin-host", version = "1")]
pub trait Host {
    /// What stands for a name, if the host knows it.
    fn look_up(name: &str) -> Option<String>;

    /// Writes a line where people look.
    #[oneway]
    fn log(line: &str);
}
