//! `netengine-userd`: see [`netengine_userd::start`].

fn main() -> std::process::ExitCode {
    netengine_userd::start::main()
}
