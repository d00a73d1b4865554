//! The WinRM server against a client that was written by others, and against requests written by hand.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod hand;
mod host;

use std::time::Duration;

use host::{Running, Scheme, client_config};
use k8swin_lab::winrm::Limits;
use winrm_rs::{AuthMethod, EncryptionMode, SoapError, WinrmClient, WinrmCredentials, WinrmError};

const HOST: &str = "127.0.0.1";

fn fault_code<T>(result: Result<T, WinrmError>) -> String {
    match result {
        Err(WinrmError::Soap(SoapError::Fault { code, .. })) => code,
        Err(error) => panic!("not a fault: {error}"),
        Ok(_) => panic!("not a fault but an answer"),
    }
}

/// Waits for what must come, with a limit that only a failure reaches.
async fn eventually(what: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(20), async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it does not happen");
}

#[tokio::test]
async fn a_command_runs_over_http_with_encrypted_messages() {
    let server = Running::start(Scheme::Http, Limits::default()).await;
    let client = server.client();
    let output = client.run_command(HOST, "hostname", &[]).await.unwrap();
    assert_eq!((output.stdout.as_slice(), output.exit_code), (&b"win01\r\n"[..], 0));
    let output = client.run_command(HOST, "arguments", &["a b", "<&>", "ü"]).await.unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "[\"a b\", \"<&>\", \"ü\"]");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "on stderr");
    assert_eq!(server.counters.shells_created(), 2);
    assert_eq!(server.counters.shells_open(), 0);
    assert!(server.counters.bytes_in() > 0 && server.counters.bytes_out() > 0 && server.counters.requests() > 8);
}

#[tokio::test]
async fn a_command_runs_over_https_with_ntlm() {
    let server = Running::start(Scheme::Https, Limits::default()).await;
    let output = server.client().run_command(HOST, "hostname", &[]).await.unwrap();
    assert_eq!(output.stdout, b"win01\r\n");
    // Encrypted messages are taken over TLS too.
    let config = winrm_rs::WinrmConfig { encryption: EncryptionMode::Always, ..client_config(&server) };
    let output =
        server.client_with(config, "Administrator", "Päss wörd").run_command(HOST, "hostname", &[]).await.unwrap();
    assert_eq!(output.stdout, b"win01\r\n");
}

#[tokio::test]
async fn a_command_runs_over_https_with_basic() {
    let server = Running::start(Scheme::Https, Limits::default()).await;
    let config = winrm_rs::WinrmConfig { auth_method: AuthMethod::Basic, ..client_config(&server) };
    let output =
        server.client_with(config, "administrator", "Päss wörd").run_command(HOST, "hostname", &[]).await.unwrap();
    assert_eq!(output.stdout, b"win01\r\n");
}

#[tokio::test]
async fn a_certificate_can_be_pinned() {
    let server = Running::start(Scheme::Https, Limits::default()).await;
    let pinned = |fingerprint: &str| {
        WinrmClient::builder(client_config(&server))
            .credentials(WinrmCredentials::new("Administrator", "Päss wörd", ""))
            .pin_server_certificate_sha256(fingerprint)
            .build()
            .unwrap()
    };
    assert_eq!(pinned(&server.fingerprint).run_command(HOST, "hostname", &[]).await.unwrap().exit_code, 0);
    assert!(pinned(&"ab".repeat(32)).run_command(HOST, "hostname", &[]).await.is_err());
}

#[tokio::test]
async fn a_wrong_password_or_user_opens_nothing() {
    for scheme in [Scheme::Http, Scheme::Https] {
        let server = Running::start(scheme, Limits::default()).await;
        for method in [AuthMethod::Ntlm, AuthMethod::Basic] {
            for (user, password) in [("Administrator", "wrong"), ("Guest", "Päss wörd"), ("Administrator", "")] {
                if scheme == Scheme::Http && matches!(method, AuthMethod::Basic) {
                    continue;
                }
                let config = winrm_rs::WinrmConfig { auth_method: method.clone(), ..client_config(&server) };
                let refused = server.client_with(config, user, password).create_shell(HOST).await;
                assert!(matches!(refused, Err(WinrmError::AuthFailed(_))), "{refused:?}");
            }
        }
        assert_eq!(server.counters.shells_created(), 0);
    }
}

#[tokio::test]
async fn plain_messages_and_basic_are_refused_over_http() {
    let server = Running::start(Scheme::Http, Limits::default()).await;
    let config = winrm_rs::WinrmConfig { encryption: EncryptionMode::Never, ..client_config(&server) };
    let refused = server.client_with(config.clone(), "Administrator", "Päss wörd").create_shell(HOST).await;
    assert!(refused.unwrap_err().to_string().contains("500"));
    let config = winrm_rs::WinrmConfig { auth_method: AuthMethod::Basic, ..config };
    let refused = server.client_with(config, "Administrator", "Päss wörd").create_shell(HOST).await;
    assert!(refused.unwrap_err().to_string().contains("401"));
    assert_eq!(server.counters.shells_created(), 0);

    let answer = hand::request(server.plain().await, None, &hand::create("PT60S")).await;
    assert_eq!(answer.status, 401);
    assert!(
        answer.head.contains("www-authenticate: Negotiate\r\n") && !answer.head.contains("Basic"),
        "{}",
        answer.head
    );
}

#[tokio::test]
async fn input_of_two_megabytes_arrives_whole() {
    for scheme in [Scheme::Http, Scheme::Https] {
        let server = Running::start(scheme, Limits::default()).await;
        let client = server.client();
        let shell = client.open_shell(HOST).await.unwrap();
        let command = shell.start_command("sha256", &[]).await.unwrap();
        let input: Vec<u8> = (0..2 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let mut pieces = input.chunks(350_000).peekable();
        while let Some(piece) = pieces.next() {
            shell.send_input(&command, piece, pieces.peek().is_none()).await.unwrap();
        }
        let mut output = Vec::new();
        loop {
            let received = shell.receive_next(&command).await.unwrap();
            output.extend(received.stdout);
            if received.done {
                break;
            }
        }
        assert_eq!(String::from_utf8(output).unwrap(), host::sha256(&input));
        shell.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_silent_command_is_waited_for_beyond_the_operation_timeout() {
    let server = Running::start(Scheme::Http, Limits::default()).await;
    let config = winrm_rs::WinrmConfig { operation_timeout_secs: 1, ..client_config(&server) };
    let client = server.client_with(config, "Administrator", "Päss wörd");
    let shell = client.open_shell(HOST).await.unwrap();
    let command = shell.start_command("cat", &[]).await.unwrap();
    for _ in 0..2 {
        let silent = shell.receive_next(&command).await.unwrap();
        assert!(silent.stdout.is_empty() && !silent.done);
    }
    shell.send_input(&command, b"at last", true).await.unwrap();
    let mut output = Vec::new();
    loop {
        let received = shell.receive_next(&command).await.unwrap();
        output.extend(received.stdout);
        if received.done {
            assert_eq!(received.exit_code, Some(0));
            break;
        }
    }
    assert_eq!(output, b"at last");
}

#[tokio::test]
async fn deleting_a_shell_ends_its_programs() {
    let server = Running::start(Scheme::Http, Limits::default()).await;
    let client = server.client();
    let shell = client.open_shell(HOST).await.unwrap();
    let command = shell.start_command("sleep", &[]).await.unwrap();
    shell.start_command("sleep", &[]).await.unwrap();
    assert_eq!(server.host.running(), 2);
    let id = shell.shell_id().to_owned();
    // A Receive that waits is told that its shell is gone.
    let waiting = server.client();
    let waiting = tokio::spawn({
        let (id, command) = (id.clone(), command.clone());
        async move { waiting.receive_output(HOST, &id, &command).await }
    });
    let requests = server.counters.requests();
    eventually(|| server.counters.requests() >= requests + 3).await;
    shell.close().await.unwrap();
    eventually(|| server.host.running() == 0).await;
    // Aborted, unless the shell was gone before the Receive came to it.
    assert!(["w:InternalError", "w:InvalidSelectors"].contains(&fault_code(waiting.await.unwrap()).as_str()));
    assert_eq!(fault_code(client.receive_output(HOST, &id, &command).await.map(|_| ())), "w:InvalidSelectors");
    assert_eq!(fault_code(client.delete_shell(HOST, &id).await), "w:InvalidSelectors");
}

#[tokio::test]
async fn a_command_is_interrupted_or_terminated() {
    let server = Running::start(Scheme::Http, Limits::default()).await;
    let client = server.client();
    let shell = client.open_shell(HOST).await.unwrap();
    let command = shell.start_command("sleep", &[]).await.unwrap();
    shell.signal_ctrl_c(&command).await.unwrap();
    let received = shell.receive_next(&command).await.unwrap();
    assert!(received.done);
    // STATUS_CONTROL_C_EXIT as Windows writes it, 3221225786, which this client does not read.
    assert_eq!(received.exit_code, None);
    let command = shell.start_command("sleep", &[]).await.unwrap();
    client.signal_terminate(HOST, shell.shell_id(), &command).await.unwrap();
    eventually(|| server.host.running() == 0).await;
    assert_eq!(fault_code(shell.receive_next(&command).await), "w:InvalidSelectors");
}

#[tokio::test]
async fn the_thirty_first_shell_is_refused() {
    let server = Running::start(Scheme::Http, Limits::default()).await;
    let client = server.client();
    let mut shells = Vec::new();
    for _ in 0..30 {
        shells.push(client.create_shell(HOST).await.unwrap());
    }
    assert_eq!(fault_code(client.create_shell(HOST).await), "w:QuotaLimit");
    assert_eq!(server.counters.shells_open(), 30);
    client.delete_shell(HOST, &shells[7]).await.unwrap();
    client.create_shell(HOST).await.unwrap();
    assert_eq!((server.counters.shells_created(), server.counters.shells_open()), (31, 30));
}

#[tokio::test]
async fn the_twenty_sixth_command_of_a_shell_is_refused() {
    let server = Running::start(Scheme::Http, Limits::default()).await;
    let client = server.client();
    let shell = client.open_shell(HOST).await.unwrap();
    for _ in 0..25 {
        shell.start_command("sleep", &[]).await.unwrap();
    }
    assert_eq!(fault_code(shell.start_command("sleep", &[]).await), "w:QuotaLimit");
}

#[tokio::test]
async fn shells_that_nobody_uses_go_away() {
    let limits = Limits { idle_timeout: Duration::from_millis(200), ..Limits::default() };
    let server = Running::start(Scheme::Http, limits).await;
    let client = server.client();
    let shell = client.open_shell(HOST).await.unwrap();
    shell.start_command("sleep", &[]).await.unwrap();
    eventually(|| server.counters.shells_open() == 0 && server.host.running() == 0).await;
    assert_eq!(fault_code(shell.close().await), "w:InvalidSelectors");
    // The client's own wish counts more, but not under a minute.
    let config = |seconds| winrm_rs::WinrmConfig { idle_timeout_secs: Some(seconds), ..client_config(&server) };
    server.client_with(config(3600), "Administrator", "Päss wörd").create_shell(HOST).await.unwrap();
    let refused = server.client_with(config(59), "Administrator", "Päss wörd").create_shell(HOST).await;
    assert_eq!(fault_code(refused), "w:InvalidParameter");
    assert_eq!(server.counters.shells_open(), 1);
}

#[tokio::test]
async fn an_envelope_over_the_limit_is_refused_and_the_connection_stays() {
    for scheme in [Scheme::Http, Scheme::Https] {
        let server = Running::start(scheme, Limits::default()).await;
        let client = server.client();
        let shell = client.open_shell(HOST).await.unwrap();
        let command = shell.start_command("sha256", &[]).await.unwrap();
        let refused = shell.send_input(&command, &vec![0; 384_000], false).await;
        assert!(refused.unwrap_err().to_string().contains("413"));
        shell.send_input(&command, &vec![0; 380_000], true).await.unwrap();
        assert!(shell.receive_next(&command).await.unwrap().done);
    }
}

#[tokio::test]
async fn cmd_refuses_a_long_command_line() {
    let server = Running::start(Scheme::Http, Limits::default()).await;
    let client = server.client();
    let output = client.run_command(HOST, "arguments", &[&"x".repeat(8191)]).await.unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "The command line is too long.\r\n");
    assert_eq!(output.exit_code, 1);
    let output = client.run_command(HOST, "arguments", &[&"x".repeat(8181)]).await.unwrap();
    assert_eq!(output.exit_code, 0);
}

#[tokio::test]
async fn input_for_a_program_that_ended_is_a_fault() {
    let server = Running::start(Scheme::Http, Limits::default()).await;
    let client = server.client();
    let shell = client.open_shell(HOST).await.unwrap();
    let command = shell.start_command("hostname", &[]).await.unwrap();
    assert!(shell.receive_next(&command).await.unwrap().done);
    assert_eq!(fault_code(shell.send_input(&command, b"x", false).await), "w:InternalError");
}

#[tokio::test]
async fn a_cut_connection_leaves_the_shell_to_a_new_one() {
    let server = Running::start(Scheme::Http, Limits::default()).await;
    let client = server.client();
    let shell = client.open_shell(HOST).await.unwrap();
    let command = shell.start_command("cat", &[]).await.unwrap();
    server.host.set_faults(|faults| faults.drop_after_bytes = Some(100_000));
    let mut cut = false;
    for _ in 0..4 {
        cut |= shell.send_input(&command, &[b'x'; 60_000], false).await.is_err();
    }
    assert!(cut);
    server.host.set_faults(|faults| faults.drop_after_bytes = None);
    assert!(!shell.receive_next(&command).await.unwrap().stdout.is_empty());
    server.host.set_faults(|faults| faults.unreachable = true);
    assert!(server.client().create_shell(HOST).await.is_err());
    assert_eq!(server.counters.shells_open(), 1);
}

#[tokio::test]
async fn answers_come_after_the_latency() {
    let server = Running::start(Scheme::Https, Limits::default()).await;
    server.host.set_faults(|faults| faults.latency = Duration::from_millis(20));
    assert_eq!(server.client().run_command(HOST, "hostname", &[]).await.unwrap().exit_code, 0);
}

#[tokio::test]
async fn a_power_cut_ends_connections_and_shells() {
    let server = Running::start(Scheme::Http, Limits::default()).await;
    let client = server.client();
    let shell = client.open_shell(HOST).await.unwrap();
    let command = shell.start_command("sleep", &[]).await.unwrap();
    let waiting = server.client();
    let waiting = tokio::spawn({
        let (id, command) = (shell.shell_id().to_owned(), command.clone());
        async move { waiting.receive_output(HOST, &id, &command).await }
    });
    let requests = server.counters.requests();
    eventually(|| server.counters.requests() >= requests + 3).await;
    server.host.cut_power();
    assert!(waiting.await.unwrap().is_err());
    eventually(|| server.host.running() == 0 && server.counters.shells_open() == 0).await;
    assert!(server.client().create_shell(HOST).await.is_err());
    server.host.restore_power();
    assert_eq!(fault_code(server.client().delete_shell(HOST, shell.shell_id()).await), "w:InvalidSelectors");
    server.client().create_shell(HOST).await.unwrap();
}

#[tokio::test]
async fn no_answer_is_larger_than_the_client_allows() {
    let server = Running::start(Scheme::Https, Limits::default()).await;
    let mut connection = server.tls().await;
    let basic = hand::basic("Administrator", "Päss wörd");
    let answer = hand::request(&mut connection, Some(&basic), &hand::create("PT60S")).await;
    let shell = answer.between("<rsp:ShellId>", "</rsp:ShellId>").to_owned();
    let command = hand::command(&shell, "print", "100000", false);
    let answer = hand::request(&mut connection, Some(&basic), &command).await;
    let command = answer.between("<rsp:CommandId>", "</rsp:CommandId>").to_owned();
    let mut output = 0;
    loop {
        let answer =
            hand::request(&mut connection, Some(&basic), &hand::receive(&shell, &command, "PT60S", 10_000)).await;
        assert_eq!(answer.status, 200);
        assert!(answer.body.len() <= 10_000, "{}", answer.body.len());
        output += answer.stdout().len();
        if answer.body.contains("CommandState/Done") {
            assert!(answer.body.contains("<rsp:ExitCode>4294967295</rsp:ExitCode>"));
            break;
        }
    }
    assert_eq!(output, 100_000);
}

#[tokio::test]
async fn requests_by_hand_are_answered_as_windows_answers() {
    let server = Running::start(Scheme::Https, Limits::default()).await;
    let mut connection = server.tls().await;
    let basic = hand::basic("Administrator", "Päss wörd");

    let answer = hand::request(&mut connection, None, &hand::create("PT60S")).await;
    assert_eq!(answer.status, 401);
    assert!(answer.head.contains("www-authenticate: Basic realm=\"WSMAN\"\r\n"), "{}", answer.head);

    let answer = hand::request(&mut connection, Some(&basic), &hand::create("PT60S")).await;
    assert!(answer.body.contains("<a:RelatesTo>uuid:by-hand</a:RelatesTo>"));
    let shell = answer.between("<rsp:ShellId>", "</rsp:ShellId>").to_owned();

    // 2150858793: nothing within the operation's time.
    let answer = hand::request(&mut connection, Some(&basic), &hand::command(&shell, "sleep", "", false)).await;
    let command = answer.between("<rsp:CommandId>", "</rsp:CommandId>").to_owned();
    let answer =
        hand::request(&mut connection, Some(&basic), &hand::receive(&shell, &command, "PT0.05S", 153_600)).await;
    assert_eq!(answer.status, 500);
    assert!(answer.body.contains("w:TimedOut") && answer.body.contains("Code=\"2150858793\" Machine=\"win01\""));

    // Without cmd.exe the command line may be longer.
    let long = "x".repeat(9000);
    let answer = hand::request(&mut connection, Some(&basic), &hand::command(&shell, "arguments", &long, true)).await;
    let command = answer.between("<rsp:CommandId>", "</rsp:CommandId>").to_owned();
    let answer = hand::request(&mut connection, Some(&basic), &hand::receive(&shell, &command, "PT60S", 153_600)).await;
    assert_eq!(answer.stdout().len(), long.len() + 4);

    let answer = hand::request(&mut connection, Some(&basic), &hand::get_configuration()).await;
    assert!(answer.body.contains("<cfg:MaxEnvelopeSizekb>500<") && answer.body.contains("<cfg:MaxShellsPerUser>30<"));

    let answer = hand::request(&mut connection, Some(&basic), "<not an envelope").await;
    assert_eq!(answer.status, 500);
    assert!(answer.body.contains("Code=\"2150858819\""));

    let answer = hand::identify(server.tls().await).await;
    assert!(answer.body.contains("<wsmid:ProductVendor>Microsoft Corporation<"));
}

#[tokio::test]
async fn the_end_of_the_server_is_the_end_of_everything() {
    let server = Running::start(Scheme::Http, Limits::default()).await;
    let client = server.client();
    let shell = client.open_shell(HOST).await.unwrap();
    shell.start_command("sleep", &[]).await.unwrap();
    server.stop.cancel();
    eventually(|| server.host.running() == 0 && server.counters.shells_open() == 0).await;
    assert!(client.create_shell(HOST).await.is_err());
}
