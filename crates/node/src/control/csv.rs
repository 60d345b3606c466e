//! A file of users: `name,password,domain` a line, by RFC 4180.

use smol_str::SmolStr;
use thiserror::Error;

use crate::subscribers::{NamedUser, UserError, check};

/// A user of a file. Without a password, one is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileUser {
    /// The user; its password is that of the file, or made for it.
    pub user: NamedUser,
    /// Whether the password was made here, so that it must be shown.
    pub made: bool,
}

/// What is wrong with a line.
#[derive(Debug, Error)]
#[error("line {line}: {fault}")]
pub struct CsvError {
    /// Counted from 1.
    pub line: usize,
    /// What.
    pub fault: CsvFault,
}

/// Kinds of [`CsvError`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CsvFault {
    /// Too few or too many fields.
    #[error("expected NAME, NAME,PASSWORD or NAME,PASSWORD,DOMAIN, found {0} fields")]
    Fields(usize),
    /// A quotation mark that is not closed, or stands in the middle.
    #[error("a quotation mark is not closed or stands within a field: write \"\" for one within quotes")]
    Quote,
    /// The name or password can't be used.
    #[error(transparent)]
    User(UserError),
    /// The same user stands in an earlier line.
    #[error("{0} stands twice in this file")]
    Twice(SmolStr),
}

/// Reads a file of users. Empty lines are passed over, and a first line that begins with the field `name`.
///
/// # Errors
/// All faults, in the order of their lines.
pub fn read_users(text: &str) -> Result<Vec<FileUser>, Vec<CsvError>> {
    let mut users: Vec<FileUser> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    let mut errors = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim_end_matches('\r');
        if line.trim().is_empty() || (index == 0 && line.split(',').next() == Some("name")) {
            continue;
        }
        let user = fields(line).and_then(|fields| user(&fields)).and_then(|user| {
            let key = (user.user.domain.clone(), user.user.name.clone());
            if seen.insert(key) { Ok(user) } else { Err(CsvFault::Twice(user.user.name)) }
        });
        match user {
            Ok(user) => users.push(user),
            Err(fault) => errors.push(CsvError { line: index + 1, fault }),
        }
    }
    if errors.is_empty() { Ok(users) } else { Err(errors) }
}

fn user(fields: &[String]) -> Result<FileUser, CsvFault> {
    if !(1..=3).contains(&fields.len()) {
        return Err(CsvFault::Fields(fields.len()));
    }
    let field = |index: usize| fields.get(index).filter(|field| !field.is_empty());
    let made = field(1).is_none();
    let password = field(1).map_or_else(crate::random::password, SmolStr::new);
    let user = NamedUser::new(&fields[0], field(2).map(String::as_str), &password);
    check(&user.name, &user.password).map_err(CsvFault::User)?;
    Ok(FileUser { user, made })
}

/// The fields of a line. A field in quotes holds commas, and a quotation mark as two.
fn fields(line: &str) -> Result<Vec<String>, CsvFault> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let mut field = String::new();
        if let Some(mut quoted) = rest.strip_prefix('"') {
            loop {
                let (part, behind) = quoted.split_once('"').ok_or(CsvFault::Quote)?;
                field.push_str(part);
                match behind.strip_prefix('"') {
                    Some(more) => {
                        field.push('"');
                        quoted = more;
                    }
                    None => {
                        rest = behind;
                        break;
                    }
                }
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            field.push_str(&rest[..end]);
            rest = &rest[end..];
            if field.contains('"') {
                return Err(CsvFault::Quote);
            }
        }
        fields.push(field);
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None if rest.is_empty() => return Ok(fields),
            None => return Err(CsvFault::Quote),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_its_domain_behind_it() {
        let users = read_users("alice@second.test,secret1\nbob,secret2,second.test\n").unwrap();
        let named: Vec<_> =
            users.iter().map(|user| (user.user.name.as_str(), user.user.domain.as_deref())).collect();
        assert_eq!(named, [("alice", Some("second.test")), ("bob", Some("second.test"))]);
        assert!(read_users("alice@second.test,secret1,first.test\n").is_err(), "two domains");
    }

    #[test]
    fn users_are_read_with_and_without_password_and_domain() {
        let text = "\u{feff}name,password,domain\r\nalice,\"a,\"\"b\",sip.test\r\n\nbob\ncarol,,b.test\n";
        let users = read_users(text).expect("users");
        let seen: Vec<_> = users
            .iter()
            .map(|FileUser { user, made }| (user.name.as_str(), user.domain.as_deref(), *made))
            .collect();
        assert_eq!(
            seen,
            [("alice", Some("sip.test"), false), ("bob", None, true), ("carol", Some("b.test"), true)]
        );
        assert_eq!(users[0].user.password, "a,\"b");
        assert_eq!(users[1].user.password.len(), 20);
    }

    #[test]
    fn all_faults_of_a_file_are_told_with_their_lines() {
        let errors = read_users("a,b,c,d\nx y,p\nok,p\nok,q\n\"open,p\nq\"q,p\n").expect_err("faults");
        let lines: Vec<usize> = errors.iter().map(|error| error.line).collect();
        assert_eq!(lines, [1, 2, 4, 5, 6]);
        assert!(!errors.iter().any(|error| error.to_string().contains("p,")), "no secret in a message");
    }
}
