//! Logging in: the inventory's key, the user's SSH agent, the configuration's keys, the password, in this order.

use camino::Utf8Path;
use k8swin_protocol::SecretBytes;
use ssh2::{Agent, ErrorCode, KeyboardInteractivePrompt, Prompt, PublicKey, Session};
use zeroize::Zeroizing;

use super::private_key;
use super::route::{Hop, Login};
use crate::error::ConnectError;
use crate::secrets::Secrets;

/// libssh2's numbers for a connection that ended: the server has had enough, as a rule.
const ENDED: [i32; 4] = [-7, -9, -13, -43];

/// What was tried so far, for an error.
#[derive(Default)]
struct Attempts(Vec<String>);

enum Outcome {
    Accepted,
    Refused,
    /// No further attempt is possible.
    Ended,
}

impl Attempts {
    fn note(&mut self, what: &str, result: Result<(), ssh2::Error>) -> Outcome {
        match result {
            Ok(()) => Outcome::Accepted,
            Err(error) => {
                self.0.push(format!("{what}: {}", error.message()));
                match error.code() {
                    ErrorCode::Session(code) if ENDED.contains(&code) => Outcome::Ended,
                    _ => Outcome::Refused,
                }
            }
        }
    }
}

/// Logs in. Blocks, for a person's answer even.
pub(super) fn log_in(session: &Session, hop: &Hop, secrets: &Secrets) -> Result<(), ConnectError> {
    let mut attempts = Attempts::default();
    let offered = match session.auth_methods(&hop.login.user) {
        Ok(methods) => methods.to_owned(),
        Err(error) => {
            return Err(ConnectError::Unreachable { target: hop.target.clone(), cause: error.message().to_owned() });
        }
    };
    // A server that asks for nothing has let us in with the question.
    if session.authenticated() || try_all(session, hop, secrets, &offered, &mut attempts)? {
        return Ok(());
    }
    if attempts.0.is_empty() {
        attempts.0.push("no key and no password to try".to_owned());
    }
    Err(ConnectError::Credentials {
        target: hop.target.clone(),
        user: hop.login.user.clone(),
        answer: format!("{}; the host offers {offered}", attempts.0.join("; ")),
        hint: format!(
            "put a public key of yours into ~{}/.ssh/authorized_keys on the host and name it with `identity`, or \
             start ssh-agent, or set `password`",
            hop.login.user
        ),
    })
}

/// Whether one attempt was accepted.
fn try_all(
    session: &Session,
    hop: &Hop,
    secrets: &Secrets,
    offered: &str,
    attempts: &mut Attempts,
) -> Result<bool, ConnectError> {
    let Login { user, identity, further_identities, password, .. } = &hop.login;
    let offers = |method: &str| offered.split(',').any(|offer| offer == method);
    if offers("publickey") {
        if let Some(path) = identity {
            match try_key(session, hop, secrets, path, true, attempts)? {
                Outcome::Accepted => return Ok(true),
                Outcome::Ended => return Ok(false),
                Outcome::Refused => {}
            }
        }
        match try_agent(session, &hop.login, attempts) {
            Outcome::Accepted => return Ok(true),
            Outcome::Ended => return Ok(false),
            Outcome::Refused => {}
        }
        for path in further_identities.iter().filter(|path| Some(*path) != identity.as_ref()) {
            match try_key(session, hop, secrets, path, false, attempts)? {
                Outcome::Accepted => return Ok(true),
                Outcome::Ended => return Ok(false),
                Outcome::Refused => {}
            }
        }
    }
    let Some(source) = password else { return Ok(false) };
    let secret = secrets
        .resolve(source, &format!("password of {user}"))
        .map_err(|error| ConnectError::Secret { target: hop.target.clone(), error })?;
    let Ok(secret) = std::str::from_utf8(secret.expose()) else {
        attempts.0.push("the password is not UTF-8".to_owned());
        return Ok(false);
    };
    if offers("password") {
        match attempts.note("the password", session.userauth_password(user, secret)) {
            Outcome::Accepted => return Ok(true),
            Outcome::Ended => return Ok(false),
            Outcome::Refused => {}
        }
    }
    if offers("keyboard-interactive") {
        let mut answers = PasswordAnswers(secret);
        let result = session.userauth_keyboard_interactive(user, &mut answers);
        return Ok(matches!(attempts.note("the password, asked for interactively", result), Outcome::Accepted));
    }
    Ok(false)
}

/// Tries one key file. `required` is the inventory's; the others need not exist, and are not asked a passphrase for.
fn try_key(
    session: &Session,
    hop: &Hop,
    secrets: &Secrets,
    path: &Utf8Path,
    required: bool,
    attempts: &mut Attempts,
) -> Result<Outcome, ConnectError> {
    let unusable = |answer: String, hint: &str| ConnectError::Setup {
        target: hop.target.clone(),
        attempted: format!("read the private key {path}"),
        answer,
        hint: hint.to_owned(),
    };
    let text = match std::fs::read_to_string(path).map(Zeroizing::new) {
        Ok(text) => text,
        Err(error) if required => {
            return Err(unusable(error.to_string(), "`identity` in the inventory names the file"));
        }
        Err(_) => return Ok(Outcome::Refused),
    };
    let passphrase = match (private_key::is_encrypted(&text), &hop.login.passphrase) {
        (false, _) => None,
        (true, Some(source)) if required => Some(
            secrets
                .resolve(source, &format!("passphrase of {path}"))
                .map_err(|error| ConnectError::Secret { target: hop.target.clone(), error })?,
        ),
        (true, _) => {
            attempts
                .0
                .push(format!("{path}: has a passphrase, which is neither in `passphrase` nor known to ssh-agent"));
            return Ok(Outcome::Refused);
        }
    };
    let passphrase = match passphrase.as_ref().map(SecretBytes::expose).map(std::str::from_utf8) {
        None => None,
        Some(Ok(passphrase)) => Some(passphrase),
        Some(Err(_)) => return Err(unusable("the passphrase is not UTF-8".to_owned(), "look at `passphrase`")),
    };
    let result = session.userauth_pubkey_memory(&hop.login.user, None, &text, passphrase);
    if let Err(error) = &result
        && passphrase.is_some()
        && private_key::could_not_be_opened(error)
    {
        let answer = format!("the passphrase does not open it ({})", error.message());
        return Err(unusable(answer, "look at `passphrase` in the inventory"));
    }
    Ok(attempts.note(path.as_str(), result))
}

/// Tries the keys of the user's agent. An agent that cannot be talked to has none.
fn try_agent(session: &Session, login: &Login, attempts: &mut Attempts) -> Outcome {
    let Some(socket) = &login.agent_socket else { return Outcome::Refused };
    let mut agent = match connected_agent(session, socket) {
        Ok(agent) => agent,
        Err(error) => {
            attempts.0.push(format!("ssh-agent at {socket}: {}", error.message()));
            return Outcome::Refused;
        }
    };
    for key in agent.identities().unwrap_or_default() {
        if login.identities_only && !is_named(login, &key) {
            continue;
        }
        match attempts.note(&format!("ssh-agent's key {}", key.comment()), agent.userauth(&login.user, &key)) {
            Outcome::Refused => {}
            outcome => return outcome,
        }
    }
    let _ = agent.disconnect();
    Outcome::Refused
}

fn connected_agent(session: &Session, socket: &Utf8Path) -> Result<Agent, ssh2::Error> {
    let mut agent = session.agent()?;
    agent.set_identity_path(socket.as_std_path())?;
    agent.connect()?;
    agent.list_identities()?;
    Ok(agent)
}

/// Whether a key of the agent is one that is named: the public half beside a key file tells.
fn is_named(login: &Login, key: &PublicKey) -> bool {
    let public_halves = login.identity.iter().chain(&login.further_identities).map(|path| format!("{path}.pub"));
    public_halves
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .any(|text| private_key::public_blob(&text).is_some_and(|blob| blob == key.blob()))
}

/// Answers every question that hides its answer with the password.
struct PasswordAnswers<'a>(&'a str);

impl KeyboardInteractivePrompt for PasswordAnswers<'_> {
    fn prompt(&mut self, _user: &str, _instructions: &str, prompts: &[Prompt<'_>]) -> Vec<String> {
        prompts.iter().map(|prompt| if prompt.echo { String::new() } else { self.0.to_owned() }).collect()
    }
}
