//! Where things lie: the plugin's own binary, ONNX Runtime, folders of voices.

use std::path::{Path, PathBuf};

/// Environment variable that names ONNX Runtime's library.
pub const RUNTIME_VARIABLE: &str = "ORT_DYLIB_PATH";
/// With it ONNX Runtime does not even prepare to report to its makers: asked later not to, it has already left a file
/// with an identifier in the folder for temporary files.
pub const NO_REPORTS_VARIABLE: &str = "ORT_DISABLE_TELEMETRY";
/// Environment variable with folders of voices, separated as in `PATH`; they are searched first.
pub const VOICES_VARIABLE: &str = "TIMBRA_VOICES";

/// Environment variable with the execution providers to run graphs on, e.g. `CUDA,OpenVINO`, or `CPU` for no other; without it
/// the fastest that ONNX Runtime has.
pub const PROVIDERS_VARIABLE: &str = "TIMBRA_PROVIDERS";

/// Environment variable that names the program of the worker's process.
pub const WORKER_VARIABLE: &str = "TIMBRA_WORKER";

/// File name of ONNX Runtime's library on this system.
pub fn runtime_library_name() -> &'static str {
    if cfg!(target_os = "windows") {
        "onnxruntime.dll"
    } else if cfg!(target_os = "macos") {
        "libonnxruntime.dylib"
    } else {
        "libonnxruntime.so"
    }
}

/// The file this code was loaded from: the plugin's binary in a host, else the executable.
pub fn own_binary() -> Option<PathBuf> {
    module_path().or_else(|| std::env::current_exe().ok())
}

/// Every path at which ONNX Runtime is looked for, best first.
pub fn runtime_candidates() -> Vec<PathBuf> {
    let mut candidates = Vec::new();
    if let Some(path) = std::env::var_os(RUNTIME_VARIABLE).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        if path.is_dir() {
            candidates.extend(libraries_in(&path));
        } else {
            candidates.push(path);
        }
    }
    for folder in beside_binary() {
        candidates.extend(libraries_in(&folder));
        candidates.extend(libraries_in(&folder.join("lib")));
    }
    candidates
}

/// File name of the program that runs voices in a process of its own.
pub fn worker_program_name() -> &'static str {
    if cfg!(windows) {
        "timbra-worker.exe"
    } else {
        "timbra-worker"
    }
}

/// The program that runs voices in a process of its own: what [`WORKER_VARIABLE`] names, or beside the binary.
pub fn worker_program() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(WORKER_VARIABLE).filter(|path| !path.is_empty()) {
        return Some(PathBuf::from(path)).filter(|path| path.is_file());
    }
    beside_binary()
        .into_iter()
        .flat_map(|folder| [folder.join("lib"), folder])
        .map(|folder| folder.join(worker_program_name()))
        .find(|path| path.is_file())
}

/// Folders that are searched for voices, best first: [`VOICES_VARIABLE`], beside the binary (`models`, `voices`,
/// bundle resources), the user's data folder.
pub fn voice_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Some(list) = std::env::var_os(VOICES_VARIABLE) {
        folders.extend(std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()));
    }
    for folder in beside_binary() {
        folders.push(folder.join("models"));
        folders.push(folder.join("voices"));
    }
    folders.extend(user_voice_folder());
    folders
}

/// The folder into which a user puts voices.
pub fn user_voice_folder() -> Option<PathBuf> {
    let from = |variable: &str| {
        std::env::var_os(variable)
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
    };
    if cfg!(target_os = "windows") {
        Some(from("APPDATA")?.join("Timbra").join("Voices"))
    } else if cfg!(target_os = "macos") {
        Some(from("HOME")?.join("Library/Application Support/Timbra/Voices"))
    } else {
        let data = from("XDG_DATA_HOME").or_else(|| Some(from("HOME")?.join(".local/share")))?;
        Some(data.join("timbra").join("voices"))
    }
}

/// Folders around the binary and, when that is a library, around the executable: its own, the bundle's (`Resources`,
/// `Frameworks`), and the two above it.
fn beside_binary() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    let binaries = [own_binary(), std::env::current_exe().ok()];
    for binary in binaries.into_iter().flatten() {
        let binary = binary.canonicalize().unwrap_or(binary);
        let Some(own) = binary.parent() else { continue };
        let mut around = vec![own.to_path_buf()];
        if let Some(contents) = own.parent() {
            around.push(contents.join("Resources"));
            around.push(contents.join("Frameworks"));
            around.push(contents.to_path_buf());
            around.extend(contents.parent().map(Path::to_path_buf));
        }
        for folder in around {
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
    }
    folders
}

/// The library under its own name, and under names with a version, in one folder.
fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let name = runtime_library_name();
    let mut libraries = vec![folder.join(name)];
    let stem = name.split('.').next().unwrap_or(name);
    let mut versioned: Vec<_> = std::fs::read_dir(folder)
        .map(|entries| {
            entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| {
                    let file = path.file_name().unwrap_or_default().to_string_lossy();
                    file != name
                        && (file.starts_with(&format!("{name}."))
                            || file.starts_with(&format!("{stem}.1.")))
                })
                .collect()
        })
        .unwrap_or_default();
    versioned.sort();
    versioned.reverse();
    libraries.extend(versioned);
    libraries
}

#[cfg(unix)]
fn module_path() -> Option<PathBuf> {
    use std::ffi::{CStr, OsStr};
    use std::os::unix::ffi::OsStrExt;

    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    let address = module_path as fn() -> Option<PathBuf> as *const libc::c_void;
    // SAFETY: `address` is only looked up, and `info` is writable memory of the type the function fills.
    let found = unsafe { libc::dladdr(address, info.as_mut_ptr()) };
    // SAFETY: all-zero bytes are a valid `Dl_info` (null pointers), so it is initialised either way.
    let info = unsafe { info.assume_init() };
    if found == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: on success `dli_fname` points to a null-terminated string owned by the loader, which stays as long as
    // the module that contains this very function.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    let path = PathBuf::from(OsStr::from_bytes(name.to_bytes()));
    // For the executable itself the loader may give the name it was started by.
    path.is_absolute().then_some(path)
}

#[cfg(windows)]
fn module_path() -> Option<PathBuf> {
    use std::os::windows::ffi::OsStringExt;

    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn GetModuleHandleExW(
            flags: u32,
            address: *const core::ffi::c_void,
            module: *mut isize,
        ) -> i32;
        fn GetModuleFileNameW(module: isize, name: *mut u16, capacity: u32) -> u32;
    }
    // From the address, and without a reference to be given back.
    const FLAGS: u32 = 0x4 | 0x2;
    let mut module = 0isize;
    let address = module_path as fn() -> Option<PathBuf> as *const core::ffi::c_void;
    // SAFETY: the address lies in this module and `module` is writable.
    if unsafe { GetModuleHandleExW(FLAGS, address, &raw mut module) } == 0 {
        return None;
    }
    let mut name = vec![0u16; 32_768];
    // SAFETY: the buffer has the capacity that is given.
    let length =
        unsafe { GetModuleFileNameW(module, name.as_mut_ptr(), name.len() as u32) } as usize;
    (length > 0 && length < name.len())
        .then(|| PathBuf::from(std::ffi::OsString::from_wide(&name[..length])))
}

#[cfg(not(any(unix, windows)))]
fn module_path() -> Option<PathBuf> {
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn own_binary_is_this_test() {
        let own = own_binary().unwrap().canonicalize().unwrap();
        assert_eq!(
            own,
            std::env::current_exe().unwrap().canonicalize().unwrap()
        );
    }

    #[test]
    fn runtime_is_looked_for_beside_the_binary_and_in_lib() {
        let candidates = runtime_candidates();
        let folder = std::env::current_exe()
            .unwrap()
            .canonicalize()
            .unwrap()
            .parent()
            .unwrap()
            .to_path_buf();
        assert!(candidates.contains(&folder.join(runtime_library_name())));
        assert!(candidates.contains(&folder.join("lib").join(runtime_library_name())));
    }
}
