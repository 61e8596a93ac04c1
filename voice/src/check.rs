//! Whether what a manifest says can be true, before any number in it sizes anything.

use std::collections::BTreeSet;
use std::path::Path;

use crate::error::VoiceError;
use crate::manifest::{
    EncoderManifest, EncoderSpec, FORMAT_VERSION, FileEntry, GraphSpec, MAX_SPEAKERS, Manifest,
};

/// Rate of every content encoder's input in Hz.
pub const ENCODER_RATE_HZ: u32 = 16_000;
/// Input samples per frame of every content encoder.
pub const ENCODER_HOP_SAMPLES: usize = 160;
/// Largest file of a package in bytes; larger than the largest encoder in use (HuBERT-large, 1.3 GB in float32).
pub const MAX_FILE_BYTES: u64 = 1_500_000_000;
/// Largest manifest in bytes.
pub const MAX_MANIFEST_BYTES: u64 = 1 << 20;
/// Most files of a package.
pub const MAX_FILES: usize = 64;
/// Most features per frame.
pub const MAX_CONTENT_CHANNELS: usize = 4096;
/// Most carried tensors of a graph.
const MAX_STATES: usize = 512;
/// Most numbers in all carried tensors of a graph (64 MiB in float32).
const MAX_STATE_VALUES: usize = 16 << 20;

/// Inputs a synthesis graph may have besides its states.
pub const SYNTHESIS_INPUTS: [&str; 10] = [
    "content",
    "f0_hz",
    "voiced",
    "loudness",
    "speaker_mix",
    "formant_semitones",
    "auto_f0",
    "prior_noise",
    "noise",
    "lookahead_frames",
];
/// Most frames a step may take.
pub const MAX_STEP_FRAMES: usize = 256;

/// Checks with the package they speak of.
struct Checker<'a> {
    path: &'a Path,
}

impl Checker<'_> {
    fn that(
        &self,
        holds: bool,
        field: &str,
        expected: &str,
        found: impl ToString,
    ) -> Result<(), VoiceError> {
        if holds {
            return Ok(());
        }
        Err(VoiceError::Manifest {
            path: self.path.to_path_buf(),
            field: field.to_owned(),
            expected: expected.to_owned(),
            found: clip(&found.to_string()),
        })
    }

    fn version(&self, found: u32) -> Result<(), VoiceError> {
        if found > FORMAT_VERSION {
            return Err(VoiceError::NewerFormat {
                path: self.path.to_path_buf(),
                found,
                supported: FORMAT_VERSION,
            });
        }
        self.that(found >= 1, "format_version", "1 or more", found)
    }

    fn within(&self, value: usize, low: usize, high: usize, field: &str) -> Result<(), VoiceError> {
        self.that(
            (low..=high).contains(&value),
            field,
            &format!("{low} to {high}"),
            value,
        )
    }

    fn hertz(&self, value: f32, field: &str) -> Result<(), VoiceError> {
        self.that(
            (10.0..=8000.0).contains(&value),
            field,
            "10 to 8000 Hz",
            value,
        )
    }

    fn text(&self, value: &str, field: &str) -> Result<(), VoiceError> {
        let fits =
            !value.trim().is_empty() && value.len() <= 200 && !value.chars().any(char::is_control);
        self.that(
            fits,
            field,
            "1 to 200 printable characters",
            format!("\"{value}\""),
        )
    }

    fn files<'f>(
        &self,
        files: impl Iterator<Item = (&'f String, &'f FileEntry)>,
    ) -> Result<(), VoiceError> {
        for (count, (name, entry)) in files.enumerate() {
            self.within(count + 1, 1, MAX_FILES, "files")?;
            if let Err(reason) = file_name(name) {
                return Err(VoiceError::FileName {
                    path: self.path.to_path_buf(),
                    name: clip(name),
                    reason,
                });
            }
            self.that(
                is_sha256(&entry.sha256),
                &format!("files.{name}.sha256"),
                "64 hex digits",
                &entry.sha256,
            )?;
            if entry.bytes > MAX_FILE_BYTES {
                return Err(VoiceError::TooLarge {
                    path: self.path.to_path_buf(),
                    what: name.clone(),
                    found: entry.bytes,
                    limit: MAX_FILE_BYTES,
                });
            }
        }
        Ok(())
    }

    fn step(&self, manifest: &Manifest) -> Result<(), VoiceError> {
        let takes = |name: &str| manifest.takes(name);
        let Some(step) = &manifest.step else {
            let several = ["lookahead_frames", "prior_noise", "auto_f0", "voiced"];
            let found = several.into_iter().find(|name| takes(name));
            return self.that(
                found.is_none(),
                "step",
                "there, since the graph takes several frames at a time",
                "nothing",
            );
        };
        let rate_hz = manifest.model_rate_hz as usize;
        self.within(step.frame_samples, 1, rate_hz / 10, "step.frame_samples")?;
        self.within(step.frames, 1, MAX_STEP_FRAMES, "step.frames")?;
        self.within(
            step.lookahead_frames,
            0,
            MAX_STEP_FRAMES,
            "step.lookahead_frames",
        )?;
        self.within(step.delay_samples, 0, rate_hz, "step.delay_samples")?;
        self.within(
            step.noise_channels,
            0,
            MAX_CONTENT_CHANNELS,
            "step.noise_channels",
        )?;
        self.that(
            (0.0..=2.0).contains(&step.noise_scale),
            "step.noise_scale",
            "0 to 2",
            step.noise_scale,
        )?;
        self.that(
            (0.0..=2.0).contains(&step.source_noise_scale),
            "step.source_noise_scale",
            "0 to 2",
            step.source_noise_scale,
        )?;
        self.that(
            takes("lookahead_frames"),
            "synthesis.inputs",
            "with lookahead_frames, since there is a step",
            manifest.synthesis.inputs.join(", "),
        )?;
        self.that(
            takes("prior_noise") == (step.noise_channels > 0),
            "step.noise_channels",
            "above 0 exactly when the graph takes prior_noise",
            step.noise_channels,
        )?;
        self.that(
            manifest.delay_samples == step.lag_samples(),
            "delay_samples",
            &format!("{}, as the step says", step.lag_samples()),
            manifest.delay_samples,
        )
    }

    fn graph(
        &self,
        graph: &GraphSpec,
        field: &str,
        may_have: &[&str],
        must_have: &str,
        output: &str,
    ) -> Result<(), VoiceError> {
        self.that(
            file_name(&graph.file).is_ok(),
            &format!("{field}.file"),
            "a plain file name",
            &graph.file,
        )?;
        let mut names = BTreeSet::new();
        for name in &graph.inputs {
            self.that(
                may_have.contains(&name.as_str()),
                &format!("{field}.inputs"),
                &may_have.join(", "),
                name,
            )?;
            self.that(
                names.insert(name.as_str()),
                &format!("{field}.inputs"),
                "no name twice",
                name,
            )?;
        }
        self.that(
            names.contains(must_have),
            &format!("{field}.inputs"),
            &format!("with {must_have}"),
            graph.inputs.join(", "),
        )?;
        self.that(
            graph.outputs == [output],
            &format!("{field}.outputs"),
            output,
            graph.outputs.join(", "),
        )?;
        self.within(
            graph.states.len(),
            0,
            MAX_STATES,
            &format!("{field}.states"),
        )?;
        let mut total = 0usize;
        for state in &graph.states {
            let place = format!("{field}.states.{}", clip(&state.name));
            self.text(&state.name, &place)?;
            self.that(
                names.insert(&state.name),
                &place,
                "a name of its own",
                &state.name,
            )?;
            self.within(state.shape.len(), 1, 8, &format!("{place}.shape (extents)"))?;
            let values = state.shape.iter().try_fold(1usize, |product, &extent| {
                if extent == 0 {
                    None
                } else {
                    product.checked_mul(extent)
                }
            });
            self.that(
                !state.ring || state.shape.len() == 4,
                &format!("{place}.shape"),
                "four extents of a ring",
                format!("{:?}", state.shape),
            )?;
            total = total.saturating_add(values.unwrap_or(usize::MAX));
            self.that(
                total <= MAX_STATE_VALUES,
                &format!("{place}.shape"),
                &format!("extents of 1 or more, {MAX_STATE_VALUES} numbers in all states at most"),
                format!("{:?}", state.shape),
            )?;
        }
        Ok(())
    }

    fn encoder(&self, encoder: &EncoderSpec) -> Result<(), VoiceError> {
        self.text(&encoder.id, "encoder.id")?;
        self.that(
            is_sha256(&encoder.sha256),
            "encoder.sha256",
            "64 lower-case hex digits",
            &encoder.sha256,
        )?;
        self.that(
            encoder.rate_hz == ENCODER_RATE_HZ,
            "encoder.rate_hz",
            "16000",
            encoder.rate_hz,
        )?;
        self.that(
            encoder.hop_samples == ENCODER_HOP_SAMPLES,
            "encoder.hop_samples",
            "160",
            encoder.hop_samples,
        )?;
        self.within(
            encoder.channels,
            1,
            MAX_CONTENT_CHANNELS,
            "encoder.channels",
        )?;
        self.within(
            encoder.lookahead_samples,
            0,
            2 * ENCODER_RATE_HZ as usize,
            "encoder.lookahead_samples",
        )?;
        let mut inputs = vec!["audio"];
        if let Some(step) = &encoder.step {
            inputs.push("lookahead_frames");
            let hop = ENCODER_HOP_SAMPLES;
            self.that(
                (hop..=10 * hop).contains(&step.frame_samples)
                    && step.frame_samples.is_multiple_of(hop),
                "encoder.step.frame_samples",
                "a multiple of 160 up to 1600",
                step.frame_samples,
            )?;
            self.within(step.frames, 1, MAX_STEP_FRAMES, "encoder.step.frames")?;
            self.within(
                step.lookahead_frames,
                0,
                MAX_STEP_FRAMES,
                "encoder.step.lookahead_frames",
            )?;
            self.that(
                encoder.lookahead_samples == step.lag_samples(),
                "encoder.lookahead_samples",
                &format!("{}, as the step says", step.lag_samples()),
                encoder.lookahead_samples,
            )?;
        }
        self.graph(&encoder.graph, "encoder.graph", &inputs, "audio", "content")
    }
}

/// Checks a voice's manifest by itself; `path` is for the message.
///
/// # Errors
/// The first value that cannot be true.
pub fn voice(manifest: &Manifest, path: &Path) -> Result<(), VoiceError> {
    let check = Checker { path };
    check.version(manifest.format_version)?;
    check.text(&manifest.name, "name")?;
    check.within(manifest.speakers.len(), 1, MAX_SPEAKERS, "speakers")?;
    let mut names = BTreeSet::new();
    for speaker in &manifest.speakers {
        check.text(&speaker.name, "speakers.name")?;
        check.that(
            names.insert(&speaker.name),
            "speakers.name",
            "a name of its own",
            &speaker.name,
        )?;
        for (value, field) in [
            (speaker.f0_median_hz, "speakers.f0_median_hz"),
            (speaker.f0_low_hz, "speakers.f0_low_hz"),
            (speaker.f0_high_hz, "speakers.f0_high_hz"),
        ] {
            check.hertz(value, field)?;
        }
        let level = speaker.loudness_median_db;
        check.that(
            (-200.0..=20.0).contains(&level),
            "speakers.loudness_median_db",
            "-200 to 20 dBFS",
            level,
        )?;
        let share = speaker.articulation;
        check.that(
            (0.0..=1.0).contains(&share),
            "speakers.articulation",
            "0 to 1",
            share,
        )?;
    }
    check.within(
        manifest.model_rate_hz as usize,
        8_000,
        192_000,
        "model_rate_hz",
    )?;
    check.that(
        manifest.model_rate_hz.is_multiple_of(100),
        "model_rate_hz",
        "a multiple of 100",
        manifest.model_rate_hz,
    )?;
    let hop_samples = manifest.model_rate_hz as usize / 100;
    check.that(
        manifest.hop_samples == hop_samples,
        "hop_samples",
        &hop_samples.to_string(),
        manifest.hop_samples,
    )?;
    check.within(
        manifest.delay_samples,
        0,
        2 * manifest.model_rate_hz as usize,
        "delay_samples",
    )?;
    check.within(
        manifest.receptive_field_frames,
        0,
        3000,
        "receptive_field_frames",
    )?;
    check.step(manifest)?;
    check.hertz(manifest.f0_min_hz, "f0_min_hz")?;
    check.hertz(manifest.f0_max_hz, "f0_max_hz")?;
    check.that(
        manifest.f0_min_hz < manifest.f0_max_hz,
        "f0_max_hz",
        "above f0_min_hz",
        manifest.f0_max_hz,
    )?;
    check.encoder(&manifest.encoder)?;
    check.graph(
        &manifest.synthesis,
        "synthesis",
        &SYNTHESIS_INPUTS,
        "content",
        "audio",
    )?;
    check.files(manifest.files.iter())?;
    check.that(
        !manifest.files.contains_key("voice.json"),
        "files",
        "without voice.json itself",
        "voice.json",
    )?;
    let listed = |name: &String, field: &str| {
        check.that(
            manifest.files.contains_key(name),
            field,
            "a file listed in files",
            name,
        )
    };
    listed(&manifest.synthesis.file, "synthesis.file")?;
    for (table, field) in [
        (&manifest.clusters, "clusters"),
        (&manifest.retrieval, "retrieval"),
    ] {
        if let Some(name) = table {
            listed(name, field)?;
        }
    }
    let ratio = manifest.retrieval_ratio;
    let (expected, most) = match manifest.retrieval {
        Some(_) => ("0 to 1", 1.0),
        None => ("0, for there is no retrieval table", 0.0),
    };
    check.that(
        (0.0..=most).contains(&ratio),
        "retrieval_ratio",
        expected,
        ratio,
    )?;
    let share = manifest.retrieval_unvoiced;
    check.that(
        (0.0..=1.0).contains(&share),
        "retrieval_unvoiced",
        "0 to 1",
        share,
    )?;
    if let Some(embedded) = manifest.files.get(&manifest.encoder.graph.file) {
        check.that(
            embedded.sha256 == manifest.encoder.sha256,
            "encoder.sha256",
            &format!(
                "the hash of {}, {}",
                manifest.encoder.graph.file, embedded.sha256
            ),
            &manifest.encoder.sha256,
        )?;
    }
    Ok(())
}

/// Checks an encoder's manifest by itself; `path` is for the message.
///
/// # Errors
/// The first value that cannot be true.
pub fn encoder(manifest: &EncoderManifest, path: &Path) -> Result<(), VoiceError> {
    let check = Checker { path };
    check.version(manifest.format_version)?;
    check.encoder(&manifest.encoder)?;
    check.files(manifest.files.iter())?;
    let graph = manifest.files.get(&manifest.encoder.graph.file);
    check.that(
        graph.is_some_and(|entry| entry.sha256 == manifest.encoder.sha256),
        "encoder.sha256",
        "the hash of the graph listed in files",
        &manifest.encoder.sha256,
    )
}

/// Whether a name can be a file of a package; says why not.
pub(crate) fn file_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > 100 {
        return Err("it has no or more than 100 characters");
    }
    if name.starts_with('.') {
        return Err("it begins with a dot");
    }
    if !name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    {
        return Err("it has other characters");
    }
    Ok(())
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// A text from a file, short enough for a message.
pub(crate) fn clip(text: &str) -> String {
    if text.chars().count() <= 80 {
        return text.to_owned();
    }
    text.chars().take(77).chain("…".chars()).collect()
}
