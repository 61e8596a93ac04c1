//! Copies the bundles into the user's plugin folders.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::bundle;
use crate::run::{copy, remove, replace};

/// `cargo xtask install`.
///
/// # Errors
/// When bundling fails or a folder cannot be written.
pub fn command() -> Result<()> {
    let bundled = bundle::bundle(true)?;
    let (clap_folder, vst3_folder) = folders()?;

    let vst3 = vst3_folder.join("timbra.vst3");
    replace(&bundled.join("timbra.vst3"), &vst3)?;
    println!("installed {}", vst3.display());

    let clap = bundled.join("timbra.clap");
    if clap.is_dir() {
        let installed = clap_folder.join("timbra.clap");
        replace(&clap, &installed)?;
        println!("installed {}", installed.display());
    } else {
        // A folder of its own, which hosts search too: the library must find
        // its runtime and voices beside itself.
        let whole = bundled.join("clap");
        remove(&whole)?;
        std::fs::create_dir_all(&whole)?;
        for name in ["timbra.clap", "lib", "models", "presets", "licences"] {
            copy(&bundled.join(name), &whole.join(name))?;
        }
        let installed = clap_folder.join("timbra");
        replace(&whole, &installed)?;
        remove(&whole)?;
        println!("installed {}", installed.join("timbra.clap").display());
    }
    Ok(())
}

/// The user's folders for CLAP and VST3 plugins, as the two standards name them.
fn folders() -> Result<(PathBuf, PathBuf)> {
    let from = |name: &str| {
        let value = env::var_os(name).filter(|v| !v.is_empty());
        value
            .map(PathBuf::from)
            .with_context(|| format!("{name} is not set"))
    };
    if cfg!(target_os = "windows") {
        let common = from("LOCALAPPDATA")?.join("Programs").join("Common");
        Ok((common.join("CLAP"), common.join("VST3")))
    } else if cfg!(target_os = "macos") {
        let plugins = from("HOME")?.join("Library/Audio/Plug-Ins");
        Ok((plugins.join("CLAP"), plugins.join("VST3")))
    } else {
        let home = from("HOME")?;
        Ok((home.join(".clap"), home.join(".vst3")))
    }
}
