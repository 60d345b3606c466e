//! How many files, sockets among them, the process may have open.
#![allow(unsafe_code)]

use std::io;

/// Raises the number of files that the process may have open to the most that it may raise it to (the soft limit to the
/// hard one), and returns it.
///
/// # Errors
/// When the system does not tell. A limit that can't be raised stays and is returned.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is on this stack.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above; the call only reads it.
    let is_raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } == 0;
    Ok(if is_raised { limit.rlim_cur } else { before })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_raised_stays_raised() {
        let first = raise_open_files().expect("the system tells");
        assert!(first > 0);
        assert_eq!(raise_open_files().expect("the system tells"), first);
    }
}
