//! Where a package may be written.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use timbra_voice::identity::IdentityVoice;
use timbra_voice::package::{Form, VoicePackage};

#[test]
fn a_folder_that_is_not_such_a_package_is_not_replaced() {
    let folder = std::env::temp_dir().join(format!("timbra-voice-place-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("song.wav"), "mine").unwrap();
    for form in [Form::File, Form::Folder] {
        let error = IdentityVoice::default()
            .write(&folder, form)
            .unwrap_err()
            .to_string();
        assert!(error.contains("song.wav"), "{error}");
    }
    // A voice in a folder to which something was added.
    let tree = folder.join("tree");
    IdentityVoice::default().write(&tree, Form::Folder).unwrap();
    std::fs::write(tree.join("notes.txt"), "mine").unwrap();
    let error = IdentityVoice::default()
        .write(&tree, Form::File)
        .unwrap_err()
        .to_string();
    assert!(error.contains("notes.txt"), "{error}");
    assert_eq!(std::fs::read(folder.join("song.wav")).unwrap(), b"mine");
    assert_eq!(std::fs::read(tree.join("notes.txt")).unwrap(), b"mine");
    // A folder that is not there yet is made.
    let file = folder.join("encoders/deep/voice.timbra");
    IdentityVoice::default().write(&file, Form::File).unwrap();
    assert!(VoicePackage::read(&file).is_ok());
    std::fs::remove_dir_all(&folder).unwrap();
}
