//! The `tenantry` command.

fn main() -> std::process::ExitCode {
    tenantry::cli::main()
}
