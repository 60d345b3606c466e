//! Sound files of the phone.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};

use dialtone_media::wav::{WavError, read_wav, write_wav};
use thiserror::Error;

/// Samples of a file that are read at most, over all channels: ten minutes of 48 kHz stereo.
const SAMPLES_MAX: usize = 57_600_000;
/// Recordings of one folder at most.
const RECORDINGS_MAX: u32 = 1_000_000;

/// Why a sound file can't be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SoundError {
    /// It can't be opened or made.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Its content can't be read or written.
    #[error("{}: {source}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: WavError,
    },
}

/// A new sound file that is still empty.
#[derive(Debug)]
pub struct NewSound {
    file: File,
    path: PathBuf,
}

/// Reads a WAV file of any rate as samples at 8 kHz.
///
/// # Errors
/// When there is none, or it is too long.
pub fn load(path: &Path) -> Result<Vec<i16>, SoundError> {
    let file = File::open(path).map_err(|source| SoundError::File { path: path.into(), source })?;
    read_wav(BufReader::new(file), SAMPLES_MAX)
        .map_err(|source| SoundError::Content { path: path.into(), source })
}

impl NewSound {
    /// Makes the file, or empties it: before the call, so that nobody talks in vain.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn create(path: &Path) -> Result<NewSound, SoundError> {
        let file = File::create(path).map_err(|source| SoundError::File { path: path.into(), source })?;
        Ok(NewSound { file, path: path.into() })
    }

    /// Makes the next file `call-N.wav` of a folder, and the folder if there is none.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn create_in(folder: &Path) -> Result<NewSound, SoundError> {
        let failed = |path: &Path, source| SoundError::File { path: path.into(), source };
        std::fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
        for number in 1..=RECORDINGS_MAX {
            let path = folder.join(format!("call-{number}.wav"));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(NewSound { file, path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(failed(&path, source)),
            }
        }
        Err(failed(folder, io::Error::from(io::ErrorKind::AlreadyExists)))
    }

    /// Writes samples at 8 kHz and gives the path.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn save(self, samples: &[i16]) -> Result<PathBuf, SoundError> {
        match write_wav(BufWriter::new(self.file), samples) {
            Ok(()) => Ok(self.path),
            Err(source) => Err(SoundError::Content { path: self.path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_of_a_folder_are_numbered_and_never_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("calls");
        for (number, samples) in [(1, [5_i16, 6]), (2, [7, 8])] {
            let path = NewSound::create_in(&inner).expect("a file").save(&samples).expect("it is written");
            assert!(path.ends_with(format!("call-{number}.wav")), "{path:?}");
        }
        assert_eq!(load(&inner.join("call-1.wav")).expect("a WAV"), [5, 6]);
    }

    #[test]
    fn what_can_not_be_read_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("none.wav");
        assert!(load(&path).expect_err("no file").to_string().contains("none.wav"));
        std::fs::write(&path, "no sound").expect("a file");
        assert!(load(&path).expect_err("no WAV").to_string().contains("none.wav"));
    }
}
