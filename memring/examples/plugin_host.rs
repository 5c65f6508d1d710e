//! Has templates filled in by `plugin`, a program that it does not trust: a child in a sandbox, which it calls and which calls it.
//! A template that makes the child crash, hang or reach out costs the host that child and that template.
//!
//! `cargo run --example plugin_host [TEMPLATE]...` (and once `cargo build --example plugin`)

mod plugins;
mod told;

use std::error::Error;
use std::io;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use memring::End;
use memring::rpc::{Call, CallError, Calls, Link, Options};
use plugins::{Host, HostServer, PluginClient, TemplateError};
use told::Told;

/// What the host waits for one template.
const PATIENCE: Duration = Duration::from_millis(500);

fn main() -> Result<(), Told> {
    let mut templates: Vec<String> = std::env::args().skip(1).collect();
    if templates.is_empty() {
        let samples =
            ["{greeting}, {user}!", "{greeting", "{mystery}", "{panic}", "{crash}", "{hang}"];
        templates =
            samples.into_iter().chain(["{open}", "again: {user}"]).map(Into::into).collect();
    }
    let mut plugin = Plugin::start()?;
    for template in templates {
        match plugin.client.fill_in(&template) {
            // What would steer the terminal is shown, and not done: the plugin may be anybody's by now.
            Ok(text) => println!("{template}: {}", text.escape_debug()),
            // The plugin is well: it says what is wrong with the template.
            Err(CallError::Failed(error)) => {
                println!("{template}: bad template: {}", error.to_string().escape_debug());
            }
            // So it is here: a panic ends the call, and the next one may go well.
            Err(error @ CallError::Panicked) => println!("{template}: bad plugin: {error}"),
            Err(error) => {
                println!("{template}: {}; {}", what_became(&error), plugin.end()?);
                plugin = Plugin::start()?;
            }
        }
    }
    println!("the host is well");
    plugin.end()?;
    Ok(())
}

/// A plugin that this host cannot work with any more.
fn what_became(error: &CallError<TemplateError>) -> String {
    match error {
        CallError::Ended(End::PeerDied(_)) => "the plugin died of it".to_owned(),
        // A message that is none, a lie in the shared memory: whatever it tried, the session is over.
        CallError::Ended(end) => format!("the plugin is out: {end}"),
        CallError::DeadlinePassed => "the plugin hangs".to_owned(),
        error => format!("the plugin does not do what it should: {error}"),
    }
}

/// A child that fills in templates, until it cannot be relied on any more.
struct Plugin {
    child: Child,
    client: PluginClient,
}

impl Plugin {
    fn start() -> Result<Self, Box<dyn Error>> {
        let program = std::env::current_exe()?.with_file_name("plugin");
        // It gets nothing of this process's but the socket, and no environment.
        let (child, channel) = memring::spawn::<Calls>(Command::new(&program).env_clear())
            .map_err(|error| format!("{}: {error}", program.display()))?;
        // Both sides serve. Its questions come while this one waits for its answer, and are answered by a thread.
        let link = Link::serving(channel, [Host::serve(Knowledge)]);
        let serving = link.clone();
        thread::Builder::new().name("for the plugin".into()).spawn(move || serving.run())?;
        let client: PluginClient = link.open()?;
        Ok(Self { child, client: client.with(Options::new().timeout(PATIENCE)) })
    }

    /// Kills the child; how it ended.
    fn end(mut self) -> io::Result<String> {
        self.child.kill()?;
        Ok(format!("it ended by {}", self.child.wait()?))
    }
}

/// What this host has to say to any plugin, whoever made it.
struct Knowledge;

impl HostServer for Knowledge {
    fn look_up(&self, _: &Call<'_>, name: &str) -> Option<String> {
        let value = match name {
            "greeting" => "Hello",
            "user" => "Ada",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn log(&self, call: &Call<'_>, line: &str) {
        // It is for people, and comes from somebody who is not trusted.
        println!("  {} says: {}", call.peer(), line.escape_debug());
    }
}
