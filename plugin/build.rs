//! Keeps the plugin's code in memory once a Linux host has loaded it.
//!
//! A thread that played the plugin may end after the host has unloaded it, and
//! what the library left in that thread (destructors of thread-local values)
//! must still be there then. Hosts that scan by loading and unloading from
//! several threads crashed without this.

fn main() {
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
