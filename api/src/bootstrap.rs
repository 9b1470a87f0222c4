//! Stand-in: replaced by the wiring of adapters and routes.

use std::sync::Arc;

use application::ports::{Mint, Observation, Observer};

use crate::config::{Config, TokensConfig};
use crate::server::{Capacity, Ending, Options, Server, Shutdown};

struct Unobserved;

impl Observer for Unobserved {
    fn saw(&self, _: &Observation) {}
}

#[poem::handler]
fn nothing_yet() -> &'static str {
    "nothing is routed yet\n"
}

/// Serves a stand-in route.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let capacity = Capacity::claim(config.server.max_connections)?;
    let shutdown = Shutdown::new();
    let _watch = shutdown.on_signals()?;
    let options = Options {
        header_timeout: config.server.header_timeout,
        keep_alive_timeout: config.server.keep_alive_timeout,
        max_connections: capacity.connections,
        shutdown_timeout: config.server.shutdown_timeout,
    };
    let server = Server::bind(config.server.listen, options)
        .map_err(|error| anyhow::anyhow!("cannot listen on {}: {error}", config.server.listen))?;
    let route = poem::Route::new().at("/", poem::get(nothing_yet));
    match server.run(route, shutdown, Arc::new(Unobserved)).await? {
        Ending::Drained | Ending::CutOff { .. } => Ok(()),
        Ending::Forced => anyhow::bail!("stopped at once by a second signal"),
    }
}

/// Makes what mints tokens.
pub fn mint(_: &TokensConfig) -> anyhow::Result<Arc<dyn Mint>> {
    anyhow::bail!("tokens are not wired yet")
}
