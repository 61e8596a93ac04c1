//! A screen to open editors on (X11): the one there is, or a virtual one.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{
    ConnectionExt, CreateWindowAux, EventMask, ImageFormat, WindowClass,
};
use x11rb::rust_connection::RustConnection;

/// One screen. Tests take turns: what they count belongs to the whole process.
pub struct Screen {
    connection: RustConnection,
    number: usize,
    server: Option<Child>,
    _turn: MutexGuard<'static, ()>,
}

impl Screen {
    /// The screen that `DISPLAY` names, or one of Xvfb; `None` when there is neither.
    ///
    /// # Errors
    /// When a server is there and cannot be used.
    pub fn open() -> Result<Option<Self>> {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let named = env::var_os("DISPLAY").is_some_and(|name| !name.is_empty());
        let server = if named {
            None
        } else {
            let Some((server, name)) = start()? else {
                return Ok(None);
            };
            // SAFETY: the tests that use a screen take turns, and begin with this.
            unsafe { env::set_var("DISPLAY", name) };
            Some(server)
        };
        let (connection, number) = RustConnection::connect(None).context("no answer")?;
        Ok(Some(Self {
            connection,
            number,
            server,
            _turn: turn,
        }))
    }

    /// Makes a window and shows it.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn window(&self, at: (i16, i16), size: (u16, u16)) -> Result<u32> {
        let root = &self.connection.setup().roots[self.number];
        let id = self.connection.generate_id()?;
        let about = CreateWindowAux::new()
            .background_pixel(root.black_pixel)
            .event_mask(EventMask::NO_EVENT);
        self.connection
            .create_window(
                root.root_depth,
                id,
                root.root,
                at.0,
                at.1,
                size.0,
                size.1,
                0,
                WindowClass::INPUT_OUTPUT,
                root.root_visual,
                &about,
            )?
            .check()?;
        self.connection.map_window(id)?.check()?;
        Ok(id)
    }

    /// Closes a window, and with it what is inside.
    ///
    /// # Errors
    /// When there is no such window.
    pub fn close(&self, window: u32) -> Result<()> {
        self.connection.destroy_window(window)?.check()?;
        Ok(())
    }

    /// How many windows there are inside one.
    ///
    /// # Errors
    /// When there is no such window.
    pub fn inside(&self, window: u32) -> Result<usize> {
        let tree = self.connection.query_tree(window)?.reply()?;
        Ok(tree.children.len())
    }

    /// What is seen in a window: 4 bytes for a pixel, row by row.
    ///
    /// # Errors
    /// When it is not visible.
    pub fn picture(&self, window: u32) -> Result<Vec<u8>> {
        let size = self.connection.get_geometry(window)?.reply()?;
        let image = self.connection.get_image(
            ImageFormat::Z_PIXMAP,
            window,
            0,
            0,
            size.width,
            size.height,
            !0,
        )?;
        Ok(image.reply()?.data)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // SAFETY: the process was started here and has not been waited for.
            unsafe { libc::kill(server.id() as i32, libc::SIGTERM) };
            // It has ended, or there is nothing to be done about it.
            let _ = server.wait();
            // SAFETY: as when it was set.
            unsafe { env::remove_var("DISPLAY") };
        }
    }
}

/// Starts Xvfb where it is installed; gives the display's name.
fn start() -> Result<Option<(Child, String)>> {
    let command = Command::new("Xvfb")
        // Ends by itself if this process does; chooses a free number and writes it down.
        .args(["-terminate", "-nolisten", "tcp", "-displayfd", "1"])
        .args(["-screen", "0", "1920x1080x24"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut server = match command {
        Ok(server) => server,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context("Xvfb"),
    };
    let mut line = String::new();
    let output = server.stdout.take().context("its output")?;
    BufReader::new(output).read_line(&mut line)?;
    ensure!(!line.trim().is_empty(), "Xvfb ended at once");
    Ok(Some((server, format!(":{}", line.trim()))))
}
