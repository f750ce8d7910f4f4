//! The process's log on standard error: lines for people, or JSON in the shape of Elastic's Common Schema.

mod ecs;
mod fields;

use std::io::{self, Write as _};
use std::panic;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry};

use ecs::{Ecs, Line};

/// How a line reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Ecs,
}

impl LogFormat {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Text, Self::Ecs];

    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Ecs => "ecs",
        }
    }
}

/// What a process says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Log {
    /// How.
    pub(crate) format: LogFormat,
    /// What it is called.
    pub(crate) service: String,
}

impl Log {
    /// From now on events that pass the filter are lines. A panic is one too.
    pub(crate) fn start(&self, filter: EnvFilter) {
        let service = self.service.clone();
        match self.format {
            LogFormat::Text => {
                tracing_subscriber::fmt().with_writer(io::stderr).with_env_filter(filter).init()
            }
            LogFormat::Ecs => {
                Registry::default().with(filter).with(Ecs::new(service.clone(), io::stderr)).init();
                panic::set_hook(Box::new(move |panicked| {
                    let mut line = Line::new(&service, "error", "a thread panicked");
                    line.put("error.type", "panic");
                    line.put("error.message", panicked.payload_as_str().unwrap_or_default());
                    if let Some(at) = panicked.location() {
                        line.put("log.origin.file.name", at.file());
                        line.put("log.origin.file.line", at.line());
                    }
                    line.write(&mut io::stderr());
                }));
            }
        }
    }

    /// Something that the operator is told whatever the filter says.
    pub(crate) fn warn(&self, message: &str) {
        match self.format {
            LogFormat::Text => drop(writeln!(io::stderr(), "onrush: warning: {message}")),
            LogFormat::Ecs => Line::new(&self.service, "warn", message).write(&mut io::stderr()),
        }
    }

    /// Why the process ends.
    pub(crate) fn fail(&self, message: &str) {
        match self.format {
            LogFormat::Text => drop(writeln!(io::stderr(), "onrush: {message}")),
            LogFormat::Ecs => {
                let mut line = Line::new(&self.service, "error", "the process ends");
                line.put("error.message", message);
                line.write(&mut io::stderr());
            }
        }
    }
}
