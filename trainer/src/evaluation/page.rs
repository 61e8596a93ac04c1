//! A page of examples: sounds to play, pictures and figures in one HTML file.
//!
//! Everything is inside the file; it opens in any browser, without a network.

use std::fmt::Write as _;
use std::io::Cursor;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// One sound with what is known of it.
#[derive(Debug, Clone)]
pub struct Sound {
    /// What it is.
    pub label: String,
    /// How it was made; may be empty.
    pub about: String,
    /// Mono samples, −1..1.
    pub samples: Vec<f32>,
    /// Sample rate.
    pub rate_hz: u32,
    /// A figure for each of [`Example::figures`]; empty where there is none.
    pub figures: Vec<String>,
}

/// Sounds that belong together: a source and what became of it.
#[derive(Debug, Clone)]
pub struct Example {
    /// Heading.
    pub title: String,
    /// Names of the figures, with units.
    pub figures: Vec<String>,
    /// The sounds, in time with each other.
    pub sounds: Vec<Sound>,
    /// A PNG of all of them; may be empty.
    pub picture: Vec<u8>,
}

/// The whole page.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Heading.
    pub title: String,
    /// Paragraphs below it.
    pub paragraphs: Vec<String>,
    /// The examples.
    pub examples: Vec<Example>,
}

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:82rem;padding:0 1rem;\
color:#1c2024;background:#fff}h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.5rem}\
table{border-collapse:collapse;width:100%}th,td{padding:.35rem .6rem;text-align:right;border-bottom:1px solid #d8dde2;\
vertical-align:middle;font-variant-numeric:tabular-nums}th{font-weight:600;font-size:.82rem}\
th:first-child,td:first-child{text-align:left}small{color:#5d6670}audio{width:15rem;height:2.2rem;display:block}\
img{max-width:100%}summary{cursor:pointer;margin:.7rem 0}\
@media(prefers-color-scheme:dark){body{color:#e3e6e9;background:#16191c}th,td{border-color:#363c42}small{color:#9aa4ad}\
img{filter:none}}";

/// One sound plays at a time, and within an example the next goes on where the last one was: made for comparing.
const SCRIPT: &str = "document.addEventListener('play',e=>{const now=e.target;\
document.querySelectorAll('audio').forEach(o=>{if(o!==now&&!o.paused){o.pause();\
if(o.closest('table')===now.closest('table')&&o.currentTime<now.duration)now.currentTime=o.currentTime;}});},true);";

impl Page {
    /// The file's text.
    ///
    /// # Errors
    /// A sound is longer than a WAV file can be.
    pub fn html(&self) -> Result<String> {
        let mut html = String::new();
        let title = escaped(&self.title);
        write!(
            html,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head>\n\
             <body><h1>{title}</h1>\n"
        )?;
        for paragraph in &self.paragraphs {
            writeln!(html, "<p>{}</p>", escaped(paragraph))?;
        }
        for example in &self.examples {
            example.write(&mut html)?;
        }
        writeln!(html, "<script>{SCRIPT}</script></body></html>")?;
        Ok(html)
    }
}

impl Example {
    fn write(&self, html: &mut String) -> Result<()> {
        let title = escaped(&self.title);
        write!(
            html,
            "<section><h2>{title}</h2>\n<table><tr><th>sound</th><th></th>"
        )?;
        for figure in &self.figures {
            write!(html, "<th>{}</th>", escaped(figure))?;
        }
        writeln!(html, "</tr>")?;
        for sound in &self.sounds {
            write!(html, "<tr><td>{}", escaped(&sound.label))?;
            if !sound.about.is_empty() {
                write!(html, "<br><small>{}</small>", escaped(&sound.about))?;
            }
            write!(
                html,
                "</td><td><audio controls preload=\"metadata\" src=\"data:audio/wav;base64,{}\"></audio></td>",
                STANDARD.encode(wav(&sound.samples, sound.rate_hz)?)
            )?;
            for index in 0..self.figures.len() {
                let figure = sound.figures.get(index).map_or("", String::as_str);
                write!(html, "<td>{}</td>", escaped(figure))?;
            }
            writeln!(html, "</tr>")?;
        }
        writeln!(html, "</table>")?;
        if !self.picture.is_empty() {
            writeln!(
                html,
                "<details open><summary>Spectrograms and F0</summary><img alt=\"Spectrograms and F0 of {title}\" \
                 src=\"data:image/png;base64,{}\"></details>",
                STANDARD.encode(&self.picture)
            )?;
        }
        writeln!(html, "</section>")?;
        Ok(())
    }
}

/// A WAV file of 16 bits in memory.
fn wav(samples: &[f32], rate_hz: u32) -> Result<Vec<u8>> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: rate_hz,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut bytes = Cursor::new(Vec::with_capacity(2 * samples.len() + 64));
    let failed = "cannot make a WAV file of a sound";
    let mut writer = hound::WavWriter::new(&mut bytes, spec).context(failed)?;
    for &sample in samples {
        let scaled = (sample * 32_767.0)
            .round()
            .clamp(f32::from(i16::MIN), f32::from(i16::MAX));
        writer.write_sample(scaled as i16).context(failed)?;
    }
    writer.finalize().context(failed)?;
    Ok(bytes.into_inner())
}

/// Text as HTML shows it.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            _ => shown.push(letter),
        }
    }
    shown
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_its_sounds_whole_and_names_as_text() {
        let samples: Vec<f32> = (0..100).map(|n| (n as f32 * 0.1).sin()).collect();
        let page = Page {
            title: "A & B <script>".to_owned(),
            paragraphs: vec![],
            examples: vec![Example {
                title: "one".to_owned(),
                figures: vec!["F0, cents".to_owned()],
                sounds: vec![Sound {
                    label: "\"quoted\"".to_owned(),
                    about: String::new(),
                    samples: samples.clone(),
                    rate_hz: 8_000,
                    figures: vec!["3.1".to_owned()],
                }],
                picture: b"png".to_vec(),
            }],
        };
        let html = page.html().unwrap();
        assert!(html.contains("<h1>A &amp; B &lt;script&gt;</h1>"));
        assert!(html.contains("&quot;quoted&quot;") && html.contains("<td>3.1</td>"));
        let data = html.split("data:audio/wav;base64,").nth(1).unwrap();
        let bytes = STANDARD.decode(data.split('"').next().unwrap()).unwrap();
        let mut reader = hound::WavReader::new(Cursor::new(bytes)).unwrap();
        assert_eq!(reader.spec().sample_rate, 8_000);
        let found: Vec<i16> = reader.samples().map(Result::unwrap).collect();
        assert_eq!(found.len(), samples.len());
        assert!(
            found
                .iter()
                .zip(&samples)
                .all(|(&a, &b)| (f32::from(a) / 32_767.0 - b).abs() < 1e-4)
        );
    }
}
