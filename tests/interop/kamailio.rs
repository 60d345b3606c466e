//! Kamailio, as registrar and proxy of a domain or as a proxy in front of our server.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::lab::{Lab, dialtone};
use crate::process::Process;
use crate::serve::DOMAIN;

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(15);

/// The password of all its users.
pub(crate) const PASSWORD: &str = "secret";

/// A running Kamailio.
pub(crate) struct Kamailio {
    /// Held so that it runs on.
    _process: Process,
    pub(crate) address: SocketAddr,
}

impl Kamailio {
    /// A registrar and proxy of a domain; whoever names a user of it must know the password.
    pub(crate) fn registrar(lab: &Lab, address: SocketAddr, domain: &str) -> Kamailio {
        let rest = r#"
            if (is_method("REGISTER")) {
                if (!pv_www_authenticate("$td", "@PASSWORD@", "0")) { www_challenge("$td", "1"); exit; }
                if (!save("location")) { sl_reply_error(); }
                exit;
            }
            if (from_uri == myself && is_method("INVITE")) {
                if (!pv_proxy_authenticate("$fd", "@PASSWORD@", "0")) { proxy_challenge("$fd", "1"); exit; }
                consume_credentials();
            }
            if (!lookup("location")) { sl_send_reply("404", "Not Found"); exit; }
            if (!t_relay()) { sl_reply_error(); }
        "#;
        Kamailio::start(lab, address, domain, &rest.replace("@PASSWORD@", PASSWORD))
    }

    /// A proxy that stays in the path of calls and sends all requests on to `next`.
    pub(crate) fn edge(lab: &Lab, address: SocketAddr, next: SocketAddr) -> Kamailio {
        let rest = r#"$du = "sip:@NEXT@"; if (!t_relay()) { sl_reply_error(); }"#;
        Kamailio::start(lab, address, DOMAIN, &rest.replace("@NEXT@", &next.to_string()))
    }

    /// The same, which also names itself in the Path of registrations, so that calls come back through it.
    pub(crate) fn edge_with_path(lab: &Lab, address: SocketAddr, next: SocketAddr) -> Kamailio {
        let rest = r#"
            if (is_method("REGISTER")) { add_path(); }
            # Back along the Path: its Route, which named us, has been taken off.
            if ($rd != "@DOMAIN@") { t_relay(); exit; }
            $du = "sip:@NEXT@";
            if (!t_relay()) { sl_reply_error(); }
        "#;
        let rest = rest.replace("@NEXT@", &next.to_string()).replace("@DOMAIN@", DOMAIN);
        Kamailio::start(lab, address, DOMAIN, &rest)
    }

    /// Starts it; `rest` is what it does with requests outside of dialogs.
    fn start(lab: &Lab, address: SocketAddr, domain: &str, rest: &str) -> Kamailio {
        let folder = lab.path(&format!("kamailio-{}", address.port()));
        std::fs::create_dir_all(&folder).expect("a folder of the lab");
        let config = folder.join("kamailio.cfg");
        std::fs::write(&config, text(address, domain, rest)).expect("a file of the lab can be written");
        let mut command = Command::new("kamailio");
        command.args(["-DD", "-E", "-m", "32", "-M", "8", "-f"]).arg(&config);
        command.arg("-Y").arg(&folder).arg("-P").arg(folder.join("pid"));
        let mut process = Process::start(&mut command);
        let end = Instant::now() + PATIENCE;
        let asked = format!("sip:{address}");
        while !Command::new(dialtone())
            .args(["options", &asked, "--wait", "0.5"])
            .output()
            .expect("the program under test can be run")
            .status
            .success()
        {
            process.absorb();
            assert!(Instant::now() < end, "Kamailio does not start\n{}", process.output());
            std::thread::sleep(Duration::from_millis(100));
        }
        Kamailio { _process: process, address }
    }
}

fn text(address: SocketAddr, domain: &str, rest: &str) -> String {
    let mut text = format!(
        "#!KAMAILIO\ndebug=1\nlog_stderror=yes\nchildren=2\ntcp_children=2\nauto_aliases=no\nalias=\"{domain}\"\n\
         listen=udp:{address}\nlisten=tcp:{address}\n"
    );
    for module in [
        "tm",
        "sl",
        "rr",
        "path",
        "pv",
        "maxfwd",
        "usrloc",
        "registrar",
        "textops",
        "siputils",
        "auth",
        "xlog",
    ] {
        text.push_str(&format!("loadmodule \"{module}.so\"\n"));
    }
    text.push_str(
        r#"
        modparam("usrloc", "db_mode", 0)
        modparam("auth", "qop", "auth")
        modparam("registrar", "use_path", 1)
        request_route {
            if (!mf_process_maxfwd_header("10")) { sl_send_reply("483", "Too Many Hops"); exit; }
            if (is_method("CANCEL")) { if (t_check_trans()) { t_relay(); } exit; }
            if (has_totag()) {
                if (loose_route()) { t_relay(); exit; }
                if (is_method("ACK")) { if (t_check_trans()) { t_relay(); } exit; }
                sl_send_reply("404", "Not Here"); exit;
            }
            if (is_method("OPTIONS") && uri == myself && $rU == $null) { sl_send_reply("200", "OK"); exit; }
            remove_hf("Route");
            if (is_method("INVITE")) { record_route(); }
"#,
    );
    text.push_str(rest);
    text.push_str("}\n");
    text
}
