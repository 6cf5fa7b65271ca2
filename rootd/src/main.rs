//! `netengine-rootd`; see the library.
fn main() -> std::process::ExitCode {
    netengine_rootd::start::main()
}
