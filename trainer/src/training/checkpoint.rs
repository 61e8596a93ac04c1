//! Checkpoints: weights, optimiser state and position, whole or not at all.
//!
//! A checkpoint is a folder `step-N` written under another name and renamed
//! when complete, so a run killed at any moment leaves only whole ones.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use burn::module::{AutodiffModule, Module};
use burn::optim::Optimizer;
use burn::record::{
    BinBytesRecorder, FullPrecisionSettings, HalfPrecisionSettings, Record, Recorder,
};
use burn::tensor::backend::{AutodiffBackend, Backend};
use serde::Serialize;
use serde::de::DeserializeOwned;

type Bytes = BinBytesRecorder<FullPrecisionSettings>;
type HalfBytes = BinBytesRecorder<HalfPrecisionSettings>;

/// How many of the newest checkpoints are kept besides the best, unless it is said.
#[must_use]
pub fn kept() -> usize {
    2
}

/// The checkpoints of one run.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    folder: PathBuf,
    keep: usize,
}

impl Checkpoints {
    /// Checkpoints in `folder`, made if absent.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)
            .with_context(|| format!("{}: cannot make the checkpoint folder", folder.display()))?;
        let checkpoints = Self {
            folder: folder.to_owned(),
            keep: kept(),
        };
        checkpoints
            .recover("best")
            .with_context(|| format!("{}: cannot clear up after a kill", folder.display()))?;
        Ok(checkpoints)
    }

    /// The same, of which the newest `count` are kept, at least one.
    #[must_use]
    pub fn keeping(self, count: usize) -> Self {
        let keep = count.max(1);
        Self { keep, ..self }
    }

    /// Steps for which a whole checkpoint exists, ascending.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn steps(&self) -> Result<Vec<u64>> {
        let mut steps: Vec<u64> = fs::read_dir(&self.folder)
            .with_context(|| self.folder.display().to_string())?
            .filter_map(|entry| {
                entry
                    .ok()?
                    .file_name()
                    .to_str()?
                    .strip_prefix("step-")?
                    .parse()
                    .ok()
            })
            .collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// Writes `parts` (file name, bytes) and `position` as checkpoint `step`, and removes old ones.
    ///
    /// # Errors
    /// When a file cannot be written; the newest whole checkpoint stays.
    pub fn save<P: Serialize>(
        &self,
        step: u64,
        position: &P,
        parts: &[(&str, Vec<u8>)],
    ) -> Result<()> {
        self.write(&format!("step-{step}"), position, parts)?;
        let steps = self.steps()?;
        for old in steps.iter().rev().skip(self.keep) {
            fs::remove_dir_all(self.folder.join(format!("step-{old}"))).ok();
        }
        Ok(())
    }

    /// Writes the best checkpoint so far, replacing the one before.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save_best<P: Serialize>(&self, position: &P, parts: &[(&str, Vec<u8>)]) -> Result<()> {
        self.write("best", position, parts)
    }

    /// Writes checkpoint `name`, replacing the one before.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write<P: Serialize>(
        &self,
        name: &str,
        position: &P,
        parts: &[(&str, Vec<u8>)],
    ) -> Result<()> {
        let target = self.folder.join(name);
        let part = self.folder.join(format!(".{name}.part"));
        let old = self.folder.join(format!(".{name}.old"));
        let work = || -> Result<()> {
            self.recover(name)?;
            if part.exists() {
                fs::remove_dir_all(&part)?;
            }
            fs::create_dir_all(&part)?;
            for (file, bytes) in parts {
                write_synced(&part.join(file), bytes)?;
            }
            write_synced(
                &part.join("position.json"),
                &serde_json::to_vec_pretty(position)?,
            )?;
            // The old one goes only once the new one is whole.
            let replaces = target.exists();
            if replaces {
                fs::rename(&target, &old)?;
            }
            fs::rename(&part, &target)?;
            if replaces {
                // What is left of it is in nobody's way; the next checkpoint takes it away.
                fs::remove_dir_all(&old).ok();
            }
            Ok(())
        };
        work().with_context(|| format!("{}: cannot write the checkpoint", target.display()))
    }

    /// Ends what a kill has left of `name` between two names: one that was to be replaced and was not comes back, and what is
    /// left of one that was replaced goes. Nothing but a checkpoint's own files is touched.
    fn recover(&self, name: &str) -> Result<()> {
        let (old, target) = (
            self.folder.join(format!(".{name}.old")),
            self.folder.join(name),
        );
        let ours = |entry: fs::DirEntry| {
            let file = entry.file_name();
            file == "position.json" || Path::new(&file).extension().is_some_and(|e| e == "bin")
        };
        if !old.is_dir() || !fs::read_dir(&old)?.flatten().all(ours) {
            return Ok(());
        }
        if target.exists() {
            fs::remove_dir_all(&old)?;
        } else if old.join("position.json").is_file() {
            fs::rename(&old, &target)?;
        }
        Ok(())
    }

    /// The folder of the newest checkpoint, if there is one.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn newest(&self) -> Result<Option<PathBuf>> {
        Ok(self
            .steps()?
            .last()
            .map(|step| self.folder.join(format!("step-{step}"))))
    }

    /// The folder of the best checkpoint, if there is one.
    #[must_use]
    pub fn best(&self) -> Option<PathBuf> {
        let best = self.folder.join("best");
        best.join("position.json").exists().then_some(best)
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write as _;
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(())
}

/// Reads `position.json` of a checkpoint folder.
///
/// # Errors
/// When it is missing or not what this version writes.
pub fn read_position<P: DeserializeOwned>(folder: &Path) -> Result<P> {
    let path = folder.join("position.json");
    let text = fs::read(&path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text)
        .with_context(|| format!("{}: not a checkpoint of this version", path.display()))
}

/// The weights of `module` as bytes.
///
/// # Errors
/// When a parameter cannot be serialised.
pub fn module_bytes<B: Backend, M: Module<B>>(module: &M) -> Result<Vec<u8>> {
    record_bytes::<B, _>(module.clone().into_record())
}

/// The weights of `module` as bytes, in half precision.
///
/// # Errors
/// When a parameter cannot be serialised.
pub fn half_module_bytes<B: Backend, M: Module<B>>(module: &M) -> Result<Vec<u8>> {
    Recorder::<B>::record(&HalfBytes::new(), module.clone().into_record(), ())
        .map_err(|error| anyhow!("cannot serialise the weights: {error}"))
}

/// `module` with the weights of `folder/file`, which are in half precision.
///
/// # Errors
/// When the file is missing or does not fit the module.
pub fn load_half_module<B: Backend, M: Module<B>>(
    module: M,
    folder: &Path,
    file: &str,
    device: &B::Device,
) -> Result<M> {
    let path = folder.join(file);
    let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
    let record = Recorder::<B>::load(&HalfBytes::new(), bytes, device)
        .map_err(|error| anyhow!("{}: does not fit this network: {error}", path.display()))?;
    Ok(module.load_record(record))
}

/// `module` with the weights of `folder/file`.
///
/// # Errors
/// When the file is missing or does not fit the module.
pub fn load_module<B: Backend, M: Module<B>>(
    module: M,
    folder: &Path,
    file: &str,
    device: &B::Device,
) -> Result<M> {
    Ok(module.load_record(read_record::<B, _>(folder, file, device)?))
}

/// The state of `optimizer` as bytes.
///
/// # Errors
/// When it cannot be serialised.
pub fn optimizer_bytes<B, M, O>(optimizer: &O) -> Result<Vec<u8>>
where
    B: AutodiffBackend,
    M: AutodiffModule<B>,
    O: Optimizer<M, B>,
{
    record_bytes::<B, _>(optimizer.to_record())
}

/// `optimizer` with the state of `folder/file`.
///
/// # Errors
/// When the file is missing or does not fit the optimiser.
pub fn load_optimizer<B, M, O>(
    optimizer: O,
    folder: &Path,
    file: &str,
    device: &B::Device,
) -> Result<O>
where
    B: AutodiffBackend,
    M: AutodiffModule<B>,
    O: Optimizer<M, B>,
{
    Ok(optimizer.load_record(read_record::<B, _>(folder, file, device)?))
}

fn record_bytes<B: Backend, R: Record<B>>(record: R) -> Result<Vec<u8>> {
    Recorder::<B>::record(&Bytes::new(), record, ())
        .map_err(|error| anyhow!("cannot serialise the weights: {error}"))
}

fn read_record<B: Backend, R: Record<B>>(
    folder: &Path,
    file: &str,
    device: &B::Device,
) -> Result<R> {
    let path = folder.join(file);
    let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
    Recorder::<B>::load(&Bytes::new(), bytes, device)
        .map_err(|error| anyhow!("{}: does not fit this network: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_the_best() {
        let folder = std::env::temp_dir().join(format!("timbra-keep-{}", std::process::id()));
        let checkpoints = Checkpoints::open(&folder).unwrap().keeping(3);
        checkpoints.save_best(&1, &[("a.bin", vec![1])]).unwrap();
        for step in [2_u64, 4, 6, 8, 10] {
            checkpoints
                .save(step, &step, &[("a.bin", vec![2])])
                .unwrap();
        }
        assert_eq!(checkpoints.steps().unwrap(), [6, 8, 10]);
        let best = checkpoints.best().expect("it stays");
        assert_eq!(fs::read(best.join("a.bin")).unwrap(), [1]);
        // Nobody can have none kept: a run would have nothing to go on from.
        checkpoints.keeping(0).save(12, &12, &[]).unwrap();
        let newest = Checkpoints::open(&folder).unwrap();
        assert_eq!(newest.steps().unwrap(), [12]);
        fs::remove_dir_all(&folder).unwrap();
    }
    #[test]
    fn other_peoples_hidden_files_are_left_alone() {
        let folder = std::env::temp_dir().join(format!("timbra-hidden-{}", std::process::id()));
        fs::create_dir_all(folder.join(".venv.old/lib")).unwrap();
        fs::create_dir_all(folder.join("venv")).unwrap();
        fs::create_dir_all(folder.join(".MIXED.old")).unwrap();
        fs::write(folder.join(".MIXED.old/notes.txt"), "mine").unwrap();
        fs::write(folder.join(".zshrc.old"), "mine").unwrap();
        let checkpoints = Checkpoints::open(&folder).unwrap();
        checkpoints
            .write("MIXED", &1, &[("model.bin", vec![1])])
            .unwrap();
        for kept in [".venv.old/lib", ".MIXED.old/notes.txt", ".zshrc.old"] {
            assert!(folder.join(kept).exists(), "{kept}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_kill_between_two_names_loses_nothing_and_is_in_nobodys_way() {
        let folder = std::env::temp_dir().join(format!("timbra-killed-{}", std::process::id()));
        let checkpoints = Checkpoints::open(&folder).unwrap();
        let save = |value: u8| checkpoints.save_best(&value, &[("a.bin", vec![value])]);
        let best = || fs::read(checkpoints.best().unwrap().join("a.bin")).unwrap();
        save(1).unwrap();
        // Killed before the new one had its name.
        fs::rename(folder.join("best"), folder.join(".best.old")).unwrap();
        Checkpoints::open(&folder).unwrap();
        assert_eq!(best(), [1]);
        // Killed while the one before was being removed; the same run goes on, or another is begun.
        for begun_again in [false, true] {
            fs::create_dir_all(folder.join(".best.old")).unwrap();
            fs::write(folder.join(".best.old/rest.bin"), "rest").unwrap();
            if begun_again {
                Checkpoints::open(&folder).unwrap();
                assert!(!folder.join(".best.old").exists());
            }
            save(2).unwrap();
            assert_eq!(best(), [2]);
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
