//! The program `arauto`.

use std::process::ExitCode;

/// What thousands of handshakes needed is given back, of which others keep two to four times as much.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    api::run(std::env::args_os())
}
