//! Forms of ONNX exports beside the usual ones: so-vits-svc's that mix speakers, and RVC's without F0.
//!
//! The references are made by `tests/golden/sovits_flows.py` and `tests/golden/rvc.py`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod references;

use std::path::Path;

use references::{B, Case, SHARED_FLOW, TRANSFORMER_SHARED, checkpoint, own, relative};
use timbra_trainer::commands::import::{Found, look};
use timbra_trainer::import::weights::CheckpointWeights;
use timbra_trainer::model::causal::to_vec;
use timbra_trainer::model::vits::eval::Compute;
use timbra_trainer::model::vits::spec::{FlowSpec, VitsSpec};
use timbra_trainer::model::vits::voice::VitsVoice;

/// Asserts that a voice sings the `count` references of a folder that do not find their own F0.
fn assert_sings(found: &Found, folder: &Path, count: usize) {
    let (spec, device) = (&found.spec, Default::default());
    let voice =
        VitsVoice::<B>::load(&mut CheckpointWeights(&found.weights), spec, &device).unwrap();
    let case = Case::read(folder);
    let mut references = case.references(folder, spec);
    references.retain(|reference| !reference.auto_f0);
    assert_eq!(references.len(), count);
    for reference in references {
        let inputs = case.inputs(spec, reference.mix, false);
        let audio = to_vec(voice.sing(&mut Compute::default(), &inputs).0);
        let error = relative(&reference.audio, &audio);
        println!("{} {}: {error:.2e}", folder.display(), reference.name);
        assert!(error < 1e-4, "{}: {error}", reference.name);
    }
}

#[test]
fn exports_that_mix_speakers_sing_as_where_they_come_from() {
    for near in [SHARED_FLOW, TRANSFORMER_SHARED] {
        let folder = own(near.name);
        let trained = look(&checkpoint(&folder), None, None).unwrap().spec;
        let path = folder.join("mixing.onnx");
        let config = folder.join("config.json");
        for (config, rate_hz) in [(Some(config.as_path()), None), (None, Some(16_000))] {
            let found = look(&path, config, rate_hz).unwrap();
            assert_eq!(found.kind, "so-vits-svc 4, ONNX export");
            assert_eq!(found.speakers.len(), 2);
            // The export is without the decoder of F0, and what couplings share it may hold once for each.
            let flow = FlowSpec {
                shared: found.spec.flow.shared,
                ..trained.flow.clone()
            };
            assert_eq!(found.spec.flow, flow);
            if config.is_some() {
                let expected = VitsSpec {
                    flow,
                    auto_f0: false,
                    ..trained.clone()
                };
                assert_eq!(found.spec, expected);
            }
            assert_sings(&found, &folder, 3);
        }
    }
}

#[test]
fn an_export_without_f0_sings_as_where_it_comes_from() {
    let folder = own("rvc_v1_40k_no_f0");
    let found = look(&folder.join("voice.onnx"), None, None).unwrap();
    assert_eq!(found.kind, "RVC v1, without F0, ONNX export");
    assert_eq!(found.encoder, "vec256l9");
    let mut trained = look(&checkpoint(&folder), None, None).unwrap().spec;
    // Neither file has the posterior encoder, and only the checkpoint says what it would see.
    trained.spectrum_bins = found.spec.spectrum_bins;
    assert_eq!(found.spec, trained);
    assert_sings(&found, &folder, 2);
}
