//! What a `[[trunk]]` becomes, and what is wrong with it.

use dialtone_roles::settings::{Destination, Trunk, TrunkAccess, TrunkFrom};

use crate::config::{Config, Facts, HostName};

fn resolve(text: &str, data: &std::path::Path) -> Result<Vec<Trunk>, Vec<String>> {
    let fallback_domain: HostName = "host.test".parse().expect("a name");
    let (listen, domains) = (Vec::new(), Vec::new());
    let facts = Facts { data, listen, domains, public: false, open: false, fallback_domain };
    match Config::read_and_resolve(text, "t.toml", &facts) {
        Ok((_, resolved)) => Ok(resolved.trunks),
        Err(problems) => {
            Err(problems.iter().map(|problem| problem.to_string().replace("\n  help: ", " | ")).collect())
        }
    }
}

#[test]
fn each_kind_of_trunk_is_made_from_its_keys() {
    let data = tempfile::tempdir().expect("a folder");
    std::fs::write(data.path().join("p.password"), "pass word\nnot this\n").expect("a file");
    let trunks = resolve(
        r#"
        [[trunk]]
        name = "carrier"
        address = ["sip:192.0.2.1", "sip:carrier.test:5070;transport=tcp"]
        numbers = { "+49302" = "user:bob@b.test", "+4930x" = "group:sales", "*" = "trunk:branch" }
        trust = true
        caller_id = "+49300"
        caller_ids = { alice = "+49301" }
        from = "keep"
        user_phone = false
        calls = 7
        probe = "0s"
        answer_within = "2s"
        [[trunk]]
        name = "provider"
        registrar = "sip:sip.provider.test"
        user = "4930"
        auth_user = "a4930"
        password_file = "p.password"
        proxy = "sip:192.0.2.5"
        expires = "10m"
        gin = true
        [[trunk]]
        name = "branch"
        account = "pbx"
        "#,
        data.path(),
    )
    .expect("no problem");
    let [carrier, provider, branch] = trunks.as_slice() else { panic!("{trunks:?}") };
    let hops: Vec<&str> = carrier.hops().iter().map(|hop| hop.as_str()).collect();
    assert_eq!(hops, ["sip:192.0.2.1", "sip:carrier.test:5070;transport=tcp"]);
    let to = |number: &str| carrier.destination_of(number).cloned();
    assert_eq!(to("+49302"), Some(Destination::User("sip:bob@b.test".into())), "the first that fits");
    assert_eq!(to("+49303"), Some(Destination::Group("sales".into())));
    assert_eq!(to("110"), Some(Destination::Trunk { trunk: "branch".into(), number: "".into() }));
    assert!(carrier.trust && !carrier.user_phone && carrier.probe.is_none() && carrier.credentials.is_none());
    assert_eq!((carrier.calls_max, carrier.from, carrier.answer_within.as_secs()), (7, TrunkFrom::Keep, 2));
    assert_eq!(carrier.caller_id.as_deref(), Some("+49300"));
    assert_eq!(carrier.caller_ids.get("sip:alice@host.test").map(|number| number.as_str()), Some("+49301"));
    let TrunkAccess::Registrar { registrar, account, gin: true } = &provider.access else {
        panic!("{provider:?}")
    };
    assert_eq!(
        (registrar.as_str(), account.aor.as_str()),
        ("sip:sip.provider.test", "sip:4930@sip.provider.test")
    );
    assert_eq!(
        (account.auth_user.as_str(), account.password.0.as_str(), account.expires_s),
        ("a4930", "pass word", 600)
    );
    assert_eq!(account.proxy.as_ref().map(|proxy| proxy.as_str()), Some("sip:192.0.2.5"));
    assert!(!format!("{provider:?}").contains("pass word"), "no log shows it");
    assert!(branch.is_user("sip:pbx@host.test"));
}

#[test]
fn what_is_wrong_with_a_trunk_is_told_with_the_way_out() {
    let data = tempfile::tempdir().expect("a folder");
    let problem = |keys: &str| {
        let problems = resolve(&format!("[[trunk]]\n{keys}\n"), data.path()).expect_err(keys);
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems.into_iter().next().unwrap_or_default()
    };
    for (keys, words) in [
        (
            "address = [\"sip:h\"]",
            "`trunk`: the key `name` is missing here | add a line like `name = \"carrier\"`",
        ),
        ("name = \"a\"", "the key `address` is missing here"),
        (
            "name = \"a\"\naccount = \"x\"\naddress = [\"sip:h\"]",
            "expected one of `address`, `registrar` and `account`",
        ),
        ("name = \"a\"\nregistrar = \"sip:h\"", "the key `user` is missing here"),
        ("name = \"a\"\nregistrar = \"sip:h\"\nuser = \"x\"", "the key `password_file` is missing here"),
        (
            "name = \"a\"\nregistrar = \"sip:h\"\nuser = \"x\"\npassword_file = \"none\"",
            "`trunk.password_file`: no password can be read from this file",
        ),
        ("name = \"a b\"\naddress = [\"sip:h\"]", "expected a name of letters"),
        ("name = \"a\"\naddress = [\"sips:h\"]", "expected a SIP URI without user"),
        (
            "name = \"a\"\naddress = [\"sip:h\"]\nnumbers = { \"+4 9\" = \"user:x\" }",
            "expected a number, in which x is any digit",
        ),
        ("name = \"a\"\naddress = [\"sip:h\"]\nnumbers = { \"1\" = \"bob\" }", "expected a user, a group"),
        ("name = \"a\"\naddress = [\"sip:h\"]\nnumbers = { \"1\" = \"trunk:b\" }", "trunk"),
        (
            "name = \"a\"\naddress = [\"sip:h\"]\ncaller_ids = { bob = \"x\" }",
            "expected a user and a number of digits",
        ),
        (
            "name = \"a\"\naddress = [\"sip:h\"]\n[[trunk]]\nname = \"a\"\naddress = [\"sip:i\"]",
            "`a` is named twice",
        ),
        ("name = \"a\"\naddress = [\"sip:h\"]\npassword = \"x\"", "no secret stands in this file"),
    ] {
        let told = problem(keys);
        assert!(told.contains(words), "{keys}: {told}");
    }
}
