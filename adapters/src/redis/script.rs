//! Scripts that are put together from files of `lua/`.

use redis::{Script, ScriptInvocation};

/// Puts a script together from files of one folder. Its flags say what it may do. Redis holds it to that, and refuses
/// one that writes before it has begun: when it is full, when it is a replica, when its disk fails. So a script is run
/// whole or not at all.
macro_rules! script {
    ($folder:literal $flags:literal: $($part:literal)+) => {
        redis::Script::new(concat!(
            "#!lua",
            $flags,
            "\n",
            $(include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"), "/src/redis/lua/", $folder, "/", $part, ".lua"
            ))),+
        ))
    };
}

pub(super) use script;

/// Begins a call with what every such script is given first: what its keys begin with.
pub(super) fn call<'a>(script: &'a Script, prefix: &str) -> ScriptInvocation<'a> {
    let mut call = script.prepare_invoke();
    call.arg(prefix);
    call
}
