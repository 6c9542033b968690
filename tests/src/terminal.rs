//! A terminal of a given size, for programs that look at what they write to.

use std::fs::File;
use std::io::Read;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::pty::{Winsize, openpty};

/// A program on a terminal of its own, and all that it has written so far.
pub struct Terminal {
    pub child: Child,
    written: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Starts a program whose outputs are a terminal `columns` wide.
    pub fn start(mut command: Command, columns: u16) -> Terminal {
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(&size, None).expect("a terminal");
        let out = || File::from(pair.slave.try_clone().expect("a terminal has any number of users"));
        let child = command.stdout(out()).stderr(out()).spawn().expect("the program starts");
        let written = Arc::new(Mutex::new(Vec::new()));
        let (mut master, kept) = (File::from(pair.master), written.clone());
        // Reading ends with an error when the last user of the terminal has gone: `command` and `pair` hold it open else.
        drop((command, pair.slave));
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = master.read(&mut buffer) {
                kept.lock().expect("no reader panics").extend_from_slice(&buffer[..count]);
            }
        });
        Terminal { child, written, reader: Some(reader) }
    }

    /// What was written so far, with all control sequences.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().expect("no reader panics")).into_owned()
    }

    /// Waits for the end of the program; its exit code, and all that it wrote.
    pub fn end(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().expect("it is ours");
        if let Some(reader) = self.reader.take() {
            reader.join().expect("it reads to the end");
        }
        (status.code(), self.raw())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The rows that a terminal so many columns wide has shown, each as it was written: a line that is longer goes on in the next row.
pub fn rows(raw: &str, columns: u16) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut rest = raw.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\u{1b}' if rest.peek() == Some(&'[') => {
                let colour = rest.by_ref().find(char::is_ascii_alphabetic) == Some('m');
                // Colours do not move the cursor.
                if !colour {
                    pieces.push(String::new());
                }
            }
            '\r' | '\n' => pieces.push(String::new()),
            other => pieces.last_mut().expect("there is one").push(other),
        }
    }
    let cut = |piece: &String| -> Vec<String> {
        let characters: Vec<char> = piece.chars().collect();
        characters
            .chunks(columns.into())
            .map(|row| row.iter().collect::<String>().trim_end().to_owned())
            .collect()
    };
    let rows = pieces.iter().flat_map(cut);
    rows.filter(|row| !row.is_empty()).collect()
}
