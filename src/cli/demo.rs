//! `tenantry demo`: throw-away servers and tenants, served until Ctrl-C.
//!
//! A signal that comes before the proxy listens ends the process at once; servers and files are
//! removed then, too (see `demo::ScratchDir`).

use anyhow::Error;

use super::Failure;
use super::serve::serve;
use crate::demo::Demo;

pub(super) fn main() -> Result<(), Failure> {
    let demo = Demo::prepare(|step| eprintln!("demo: {step}")).map_err(Error::from)?;
    let result = serve(&demo.config_path(), Vec::new(), || {
        println!(
            "\nServing on {}. Paste into another terminal:\n\n{demo}",
            demo.address()
        );
        println!("Ctrl-C ends it and removes everything.");
    });
    eprintln!("demo: removing servers and files");
    drop(demo);
    result
}
