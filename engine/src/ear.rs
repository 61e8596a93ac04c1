//! What is heard of a stream: content, F0 and loudness of every frame.

use std::sync::Arc;

use timbra_dsp::CONTENT_HOP_SAMPLES;

use crate::blend::{Blender, Pull};
use crate::error::EngineError;
use crate::features::{FeatureExtractor, Measures};
use crate::listener::Listener;
use crate::model::LoadedVoice;
use crate::promise::Promise;
use crate::stopwatch::Stopwatch;
use crate::synthesis::Content;

/// A frame that is complete but for its content, which [`Ear::content`] has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeardFrame {
    /// Hz, 0 = unvoiced.
    pub f0_hz: f32,
    /// dBFS.
    pub loudness_db: f32,
}

/// Listens to one stream.
pub(crate) enum Ear {
    /// In the thread that asks: a frame is all there at once.
    Here {
        extractor: Box<FeatureExtractor>,
        blender: Blender,
        voice: Arc<LoadedVoice>,
        /// Of the frame that came last.
        content: Vec<f32>,
    },
    /// Beside the voice, where that is made beside the stream as well.
    Beside {
        listener: Box<Listener>,
        /// Of the frame that was asked for last.
        content: Option<Promise>,
    },
}

impl Ear {
    /// At the start of a stream of `voice`. A thread of its own counts on `stopwatch` how long it works.
    pub fn new(voice: &Arc<LoadedVoice>, stopwatch: &Stopwatch) -> Result<Self, EngineError> {
        Ok(match &voice.manifest().step {
            None => Self::Here {
                extractor: Box::new(FeatureExtractor::new(Arc::clone(voice.encoder()))?),
                blender: Blender::default(),
                voice: Arc::clone(voice),
                content: Vec::new(),
            },
            Some(_) => Self::Beside {
                listener: Box::new(Listener::new(voice, stopwatch)?),
                content: None,
            },
        })
    }

    /// Whether content is found on a thread of its own.
    pub fn is_beside(&self) -> bool {
        matches!(self, Self::Beside { .. })
    }

    /// F0 and loudness so far.
    pub fn measures(&self) -> &Measures {
        match self {
            Self::Here { extractor, .. } => extractor.measures(),
            Self::Beside { listener, .. } => listener.measures(),
        }
    }

    /// Takes the next hop; returns the frame that is complete with it.
    pub fn push_hop(
        &mut self,
        hop: &[f32; CONTENT_HOP_SAMPLES],
    ) -> Result<Option<HeardFrame>, EngineError> {
        match self {
            Self::Here {
                extractor, content, ..
            } => Ok(extractor.push_hop(hop)?.map(|frame| {
                *content = frame.content;
                HeardFrame {
                    f0_hz: frame.f0_hz,
                    loudness_db: frame.loudness_db,
                }
            })),
            Self::Beside { listener, .. } => {
                let frame = listener.push_hop(hop);
                Ok(frame.map(|(f0_hz, loudness_db)| HeardFrame { f0_hz, loudness_db }))
            }
        }
    }

    /// Content of the frame that came last, pulled to the speaker's. It can be asked for once.
    pub fn content(&mut self, pull: Pull) -> Content<'_> {
        match self {
            Self::Here {
                blender,
                voice,
                content,
                ..
            } => {
                blender.pull(content, voice.retrieval(), voice.clusters(), &pull);
                Content::Known(content)
            }
            Self::Beside { listener, content } => {
                let ahead = listener.content_ahead();
                Content::Promised(content.insert(listener.content(pull)), ahead)
            }
        }
    }

    /// Back to the start of a signal.
    pub fn reset(&mut self) -> Result<(), EngineError> {
        match self {
            Self::Here { extractor, .. } => extractor.reset(),
            Self::Beside { listener, .. } => {
                listener.reset();
                Ok(())
            }
        }
    }
}
