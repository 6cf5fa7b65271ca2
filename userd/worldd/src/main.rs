//! `netengine-worldd`: the services one world sees. Everything is in the library, so that tests reach it.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    netengine_worldd::start::main()
}
