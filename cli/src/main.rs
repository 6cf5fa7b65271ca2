//! The `netengine` command.

fn main() -> std::process::ExitCode {
    netengine_cli::main()
}
