//! A plugin of `plugin_host`, which starts it: fills in templates. It is in a sandbox and can only compute; what it has to know it
//! asks its host.
//!
//! It has bugs planted: some names make it do what a crafted template would make a real one do.

mod plugins;
mod sandbox;
mod told;

use memring::End;
use memring::rpc::{Call, Calls, Link};
use plugins::{HostClient, Plugin, PluginServer, TemplateError};
use told::Told;

fn main() -> Result<(), Told> {
    let channel = memring::inherited::<Calls>()?;
    // A panic is told to the caller, and not to a terminal that the sandbox keeps out of reach.
    std::panic::set_hook(Box::new(|_| {}));
    channel.session().before_sandbox();
    sandbox::lock_in()?;
    // Serving starts no thread: calls are run in this one.
    match Link::serving(channel, [Plugin::serve(Templates)]).run() {
        End::Closed | End::PeerDied(_) => Ok(()), // no host, no work
        end => Err(end.into()),
    }
}

struct Templates;

impl PluginServer for Templates {
    fn fill_in(&self, call: &Call<'_>, template: &str) -> Result<String, TemplateError> {
        // The session in which the call came goes both ways: who calls is called in turn. This is opened for each call, for a
        // client that is kept here would keep the session which keeps it.
        let host: HostClient =
            call.link().open().map_err(|error| TemplateError::Host(error.to_string()))?;
        let mut text = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or(TemplateError::Unclosed)?;
            planted_bug(name);
            let value =
                host.look_up(name).map_err(|error| TemplateError::Host(error.to_string()))?;
            text += before;
            text += &value.ok_or_else(|| TemplateError::Unknown(name.to_owned()))?;
            rest = after;
        }
        text += rest;
        // Nobody waits for this, and if it cannot be sent the answer cannot either.
        let _ = host.log(&format!("{} bytes became {}", template.len(), text.len()));
        Ok(text)
    }
}

/// What a crafted template would have a real plugin do.
fn planted_bug(name: &str) {
    match name {
        "panic" => panic!("as asked for"),
        "crash" => std::process::abort(),
        "hang" => loop {
            std::hint::spin_loop();
        },
        "open" => drop(std::fs::File::open("/etc/passwd")),
        _ => {}
    }
}
