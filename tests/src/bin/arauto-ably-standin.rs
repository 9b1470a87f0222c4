//! A stand-in for Ably that is started by hand, for a demo on a laptop. It is no part of the service.

use std::io::{self, Write as _};
use std::net::SocketAddrV4;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use tests::process::given;
use tests::standin::{
    AccountKey, FAULTS, PUBLISH_KEY, PUBLISH_RIGHTS, SWITCHES, Setup, StandIn, TOKEN_KEY, TOKEN_RIGHTS,
    Tokens,
};

/// The service reads the same variables, so both can be started from one shell.
const PUBLISH_VARIABLE: &str = "ARAUTO_ABLY_PUBLISH_KEY";
const TOKEN_VARIABLE: &str = "ARAUTO_ABLY_TOKEN_KEY";

#[derive(Parser)]
#[command(name = "arauto-ably-standin", about = ABOUT)]
struct Arguments {
    /// A port of this machine
    #[arg(long, default_value = "127.0.0.1:9280", value_name = "127.0.0.1:PORT")]
    listen: SocketAddrV4,
    /// How long before the end of its token a browser is asked for another one, in seconds; 0 lets tokens run out
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    auth_lead: u64,
}

/// What `--help` begins with.
const ABOUT: &str = "A stand-in for Ably on this machine, for tests and demonstrations. It is our reading of Ably's \
    documentation, not Ably. It takes its keys from ARAUTO_ABLY_PUBLISH_KEY and ARAUTO_ABLY_TOKEN_KEY, and has keys of its \
    own where they are not set.";

/// A key, and whether it is one that everybody can read in this program.
struct Chosen {
    text: String,
    is_ours: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where standard error is closed there is nobody left to tell.
            let _ = writeln!(io::stderr().lock(), "arauto-ably-standin: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let publish = chosen(PUBLISH_VARIABLE, PUBLISH_KEY);
    let token = chosen(TOKEN_VARIABLE, TOKEN_KEY);
    let mut setup = Setup::with_keys(vec![
        AccountKey::parse(&publish.text, PUBLISH_RIGHTS, Tokens::Lasting).context(PUBLISH_VARIABLE)?,
        AccountKey::parse(&token.text, TOKEN_RIGHTS, Tokens::Revocable).context(TOKEN_VARIABLE)?,
    ])
    .listen(arguments.listen);
    if arguments.auth_lead > 0 {
        setup = setup.asks_before_expiry(Duration::from_secs(arguments.auth_lead));
    }
    let ably = setup.start()?;
    say(&introduction(&ably, &publish, &token))?;
    tokio::signal::ctrl_c()
        .await
        .context("Ctrl-C cannot be waited for")?;
    say("\nThe stand-in has ended; what it remembered is gone.\n")
}

fn chosen(variable: &str, ours: &str) -> Chosen {
    let set = given(variable);
    Chosen {
        is_ours: set.is_none(),
        text: set.unwrap_or_else(|| ours.to_owned()),
    }
}

fn introduction(ably: &StandIn, publish: &Chosen, token: &Chosen) -> String {
    // A key from the environment may be a real one; it is not repeated.
    let line = |variable: &str, key: &Chosen| {
        if key.is_ours {
            format!("  export {variable}={}\n", key.text)
        } else {
            format!("  {variable}: as it is set here\n")
        }
    };
    let url = ably.url();
    format!(
        "A stand-in for Ably listens on {url}.\n\
         It is our reading of Ably's documentation, and not Ably: what works here may still be refused there.\n\
         \n\
         Start Arauto with\n\
         \n\
         \x20 export ARAUTO_ABLY_ENDPOINT={url}\n\
         {publish}{token}\
         \n\
         The first key may publish and read history; the second signs tokens that may subscribe and read history.\n\
         Keys that are shown here are no secrets: never use them at Ably, nor keys of Ably here.\n\
         \n\
         A page connects with ably-js and\n\
         \n\
         \x20 {{ authUrl: …, endpoint: '127.0.0.1', port: {port}, tls: false, useBinaryProtocol: false }}\n\
         \n\
         Switches, for curl:\n\
         \n\
         {switches}\n\
         For example, two answers of 503:\n\
         \n\
         \x20 curl -X PUT {url}/standin/faults -H 'content-type: application/json' \\\n\
         \x20   -d '[{{\"fault\":\"answer\",\"status\":503,\"code\":50003,\"times\":2}}]'\n\
         \n\
         Faults:\n\
         \n\
         {faults}\n\
         Ctrl-C ends it.\n",
        publish = line(PUBLISH_VARIABLE, publish),
        token = line(TOKEN_VARIABLE, token),
        port = ably.address().port(),
        switches = indented(SWITCHES),
        faults = indented(FAULTS),
    )
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| {
            if line.is_empty() {
                "\n".to_owned()
            } else {
                format!("  {line}\n")
            }
        })
        .collect()
}

/// Writes to standard output. A reader that has seen enough is no failure.
fn say(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("standard output"),
        _ => Ok(()),
    }
}
