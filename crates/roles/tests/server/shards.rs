//! The services of the server on servers of one to four shards, whichever of them their calls come to.
//!
//! The tests of the services themselves run here again. Their Call-IDs stay the same, and the secret that the hash of a
//! Call-ID is keyed with differs from run to run, so that the calls of each lie on all combinations of shards.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use bytes::Bytes;
use dialtone_roles::io::{DialState, Input, Notice, Output};
use dialtone_roles::settings::{Limits, Secret};
use dialtone_roles::{Counters, Engine, Settings, Tables, steer, turn};
use dialtone_wire::net::Flow;
use dialtone_wire::time::Instant;

use crate::b2bua::{ALICE, BOB, at_rest, body, code, method, response, server_with, talking, talking_on, to};
use crate::b2bua_park::carol_calls;
use crate::b2bua_transfer::{CAROL, CAROLS, consulted, replacing, with_carol};
use crate::peers::settings;

/// All shards of a server; as an engine, the first one.
pub(crate) struct Shards {
    settings: Settings,
    engines: Vec<Engine>,
    deadlines: Vec<Option<(Instant, &'static str)>>,
    /// Who has asked what is answered next.
    pub(crate) asker: usize,
    /// After so many more words between shards about calls that meet, one is lost.
    pub(crate) loses: Option<u16>,
    /// Packets come more than once.
    pub(crate) repeats: bool,
    pub(crate) came: VecDeque<(Flow, Bytes)>,
    pub(crate) said: HashSet<Bytes>,
}

thread_local! {
    /// How many shards the servers of a test have, the secret of their hash, and whether packets come more than once.
    static WAY: Cell<(u16, u8, bool)> = const { Cell::new((1, 7, false)) };
    /// What all of them have counted.
    static COUNTED: RefCell<Counters> = RefCell::new(Counters::default());
}

impl Shards {
    pub(crate) fn new(settings: Settings) -> Shards {
        let (shards, secret, repeats) = WAY.get();
        let settings = match shards {
            1 => settings,
            shards => Settings { shards, secret: Secret([secret; 32]), ..settings },
        };
        let shared = Arc::new(settings.clone());
        let engine = |shard: u16| Engine::new(shard, [3 + shard as u8; 32], shared.clone());
        Shards {
            settings,
            engines: (0..shards).map(engine).collect(),
            deadlines: vec![None; usize::from(shards)],
            asker: 0,
            loses: None,
            repeats,
            came: VecDeque::new(),
            said: HashSet::new(),
        }
    }

    /// One input, and all that the shards then say to each other.
    pub(crate) fn turn(
        &mut self,
        now: Instant,
        input: Input,
        mut carry_out: impl FnMut(usize, Output),
    ) -> Option<(Instant, &'static str)> {
        let all = 0..self.engines.len();
        let mut inputs = VecDeque::new();
        match input {
            Input::Timeout => inputs.extend(all.clone().map(|shard| (shard, Input::Timeout))),
            Input::Configure(settings) => {
                inputs.extend(all.clone().map(|shard| (shard, Input::Configure(settings.clone()))));
            }
            Input::Answer(..) => inputs.push_back((std::mem::take(&mut self.asker), input)),
            Input::Packet { ref bytes, .. } if self.engines.len() > 1 => {
                inputs.push_back((usize::from(steer(&self.settings, bytes)), input));
            }
            input => inputs.push_back((0, input)),
        }
        while let Some((shard, input)) = inputs.pop_front() {
            let loses = &mut self.loses;
            self.deadlines[shard] = turn(&mut self.engines[shard], now, input, |output| match output {
                Output::Notice { notice: Notice::Handover(_), .. } if *loses == Some(0) => *loses = None,
                Output::Notice { to, notice } if all.len() > 1 => {
                    if matches!(notice, Notice::Handover(_)) {
                        *loses = loses.map(|left| left - 1);
                    }
                    inputs.push_back((usize::from(to), Input::Notice(notice)));
                }
                output => carry_out(shard, output),
            });
        }
        self.deadlines.iter().flatten().min_by_key(|(at, _)| *at).copied()
    }

    pub(crate) fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        self.engines.iter().for_each(|engine| sum.add(engine.counters()));
        sum
    }

    pub(crate) fn tables(&self) -> Tables {
        let mut sum = Tables::default();
        self.engines.iter().for_each(|engine| sum.add(&engine.tables()));
        sum
    }

    pub(crate) fn dialled(&self, token: u64) -> Option<DialState> {
        self.engines.iter().find_map(|engine| engine.dialled(token))
    }
}

impl Deref for Shards {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engines[0]
    }
}

impl DerefMut for Shards {
    fn deref_mut(&mut self) -> &mut Engine {
        &mut self.engines[0]
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        COUNTED.with_borrow_mut(|counted| counted.add(&self.counters()));
    }
}

/// Runs tests of a service on servers of so many shards, with their calls on all combinations of them, each packet once and
/// each packet again and again. How many calls were handed over tells whether they have met across shards.
fn on_all_shards(tests: &[fn()], meets: bool) {
    let mut met = BTreeMap::new();
    for (shards, repeats) in [(1, true), (2, false), (2, true), (3, true), (4, true)] {
        for secret in 0..6 {
            WAY.set((shards, secret, repeats));
            COUNTED.take();
            tests.iter().for_each(|test| test());
            *met.entry(shards).or_insert(0) += COUNTED.take().handed_over;
        }
    }
    WAY.set((1, 7, false));
    assert!(met.iter().all(|(shards, met)| (*met > 0) == (meets && *shards > 1)), "{met:?}");
}

#[test]
fn parked_calls_are_found_on_any_shard() {
    use crate::b2bua_park as tests;
    on_all_shards(
        &[
            tests::a_call_is_parked_and_taken_by_whoever_calls_its_slot,
            tests::a_call_that_nobody_takes_goes_back_to_who_has_parked_it,
            tests::a_call_whose_parker_never_answers_ends_after_three_returns,
            tests::who_hangs_up_while_parked_frees_the_slot,
            tests::who_hangs_up_while_taking_it_leaves_it_in_its_slot,
            tests::a_slot_that_is_taken_gives_the_call_back_at_once,
            tests::as_many_are_parked_as_may,
        ],
        true,
    );
}

#[test]
fn calls_that_ring_are_taken_from_any_shard() {
    use crate::b2bua_park as tests;
    on_all_shards(
        &[
            tests::a_call_that_rings_elsewhere_is_taken_and_the_other_phones_stop,
            tests::a_caller_who_gives_up_while_his_call_is_taken_ends_it,
            tests::who_takes_a_call_and_hangs_up_at_once_leaves_the_caller_with_a_refusal,
            tests::an_answer_that_crosses_with_the_pickup_is_hung_up_once,
            tests::where_nothing_rings_there_is_nothing_to_take,
            tests::a_member_of_a_group_takes_its_call_by_the_number_of_a_colleague,
        ],
        true,
    );
}

#[test]
fn who_is_held_hears_music_on_each_shard() {
    use crate::b2bua_hold as tests;
    on_all_shards(
        &[
            tests::who_is_held_hears_music_until_the_holder_resumes,
            tests::hold_and_resume_by_update_are_the_same,
            tests::whoever_of_the_two_hangs_up_ends_the_call_and_the_music,
            tests::who_hangs_up_before_the_music_has_answered_leaves_nothing,
            tests::who_plays_and_hangs_up_leaves_the_other_held,
            tests::who_plays_and_is_there_no_more_leaves_the_other_held,
            tests::where_nobody_plays_the_other_is_held_and_nobody_is_told,
            tests::a_phone_that_does_not_want_the_music_is_held,
            tests::a_holder_who_resumes_before_the_music_answers_waits_for_nothing,
            tests::a_holder_who_resumes_while_the_music_is_being_joined_is_told_to_try_again,
            tests::a_phone_that_is_busy_with_its_own_change_hears_music_afterwards,
            tests::one_who_hears_music_and_changes_her_session_has_it_with_the_holder_and_then_the_same_music,
            tests::two_who_hold_each_other_hear_nothing_and_the_one_who_resumes_hears_music,
            tests::a_phone_that_brings_music_itself_is_left_alone,
            tests::what_the_two_say_to_each_other_passes_while_music_plays,
            tests::streams_that_who_plays_has_beside_the_sound_are_refused,
            tests::who_is_transferred_hears_music_until_the_target_is_there,
            tests::a_transfer_that_fails_leaves_the_music_playing,
            tests::a_transfer_waits_for_no_music_that_is_only_called,
            tests::a_transfer_that_comes_while_the_music_is_being_joined_takes_place,
            tests::an_offer_that_comes_late_brings_the_two_together_again,
            tests::lost_packets_delay_the_music_and_no_more,
            tests::a_full_server_holds_without_music,
        ],
        false,
    );
}

#[test]
fn who_is_held_and_hears_music_is_joined_with_one_of_another_shard() {
    use crate::b2bua_hold as tests;
    on_all_shards(
        &[
            tests::one_who_hears_music_is_joined_with_whom_the_holder_has_asked,
            tests::whom_the_holder_has_asked_hears_music_until_both_are_joined,
            tests::one_who_hears_music_and_is_parked_hears_the_same_on,
            tests::another_phone_that_comes_in_place_of_the_holder_ends_the_music,
        ],
        true,
    );
}

#[test]
fn callers_of_a_group_wait_in_one_queue() {
    use crate::b2bua_queue as tests;
    on_all_shards(
        &[
            tests::who_waits_is_told_his_position_and_rings_when_a_member_is_free,
            tests::who_waits_too_long_goes_where_the_settings_say,
            tests::without_another_place_it_ends_with_480_and_nothing_is_left,
            tests::who_gives_up_leaves_the_queue,
            tests::who_moves_up_is_told_at_once_and_many_who_leave_cause_one_round_a_second,
            tests::as_many_wait_as_may,
        ],
        true,
    );
}

#[test]
fn calls_of_two_shards_are_joined_by_a_transfer() {
    use crate::b2bua_transfer as tests;
    on_all_shards(
        &[
            tests::an_attended_transfer_joins_the_two_who_are_left,
            tests::a_phone_that_hangs_up_both_calls_at_once_has_transferred_all_the_same,
            tests::an_attended_transfer_that_fails_leaves_both_calls_as_they_were,
            tests::nobody_transfers_to_a_call_that_is_not_his_own,
        ],
        true,
    );
}

#[test]
fn what_one_call_alone_needs_stays_on_its_shard() {
    use crate::b2bua_transfer as tests;
    on_all_shards(
        &[
            tests::the_server_brings_the_target_and_the_transferor_hangs_up,
            tests::the_caller_transfers_the_one_whom_he_called,
            tests::a_target_that_is_busy_gives_the_call_back,
            tests::nobody_there_gives_the_call_back_too,
            tests::a_transferor_who_hangs_up_at_once_does_not_stop_it,
            tests::without_transferor_a_failure_ends_the_call_of_the_transferee,
            tests::a_transferee_who_hangs_up_while_the_target_rings_ends_all,
            tests::an_answer_that_crosses_the_cancel_is_acknowledged_and_hung_up_once,
            tests::a_target_that_hangs_up_in_the_middle_gives_the_call_back_with_its_session,
            tests::a_transferee_who_refuses_the_offer_stays_and_the_target_goes,
            tests::glare_at_the_transferee_is_waited_out,
            tests::a_refer_without_subscription_gets_no_notify,
            tests::nonsense_is_refused_and_the_call_goes_on,
            tests::a_call_is_transferred_so_often_and_no_more,
            tests::a_transfer_survives_lost_packets,
            tests::a_second_refer_waits_for_the_first_one,
        ],
        false,
    );
}

#[test]
fn calls_of_the_command_line_stay_on_one_shard() {
    use crate::b2bua_dial as tests;
    on_all_shards(
        &[
            tests::both_are_called_one_after_the_other_and_talk,
            tests::who_does_not_want_it_is_told_with_the_reason,
            tests::who_hangs_up_while_the_other_rings_ends_it,
            tests::nobody_who_answers_leaves_nothing,
            tests::calls_that_are_asked_for_are_limited_and_those_that_are_over_forgotten,
            tests::a_server_that_only_forwards_does_it_too,
        ],
        false,
    );
}

#[test]
fn calls_come_in_place_of_others_whatever_their_shards() {
    use crate::b2bua_replaces as tests;
    on_all_shards(
        &[
            tests::whom_a_party_has_referred_takes_its_place,
            tests::a_user_takes_his_call_to_another_phone_of_his,
            tests::a_call_that_rings_is_taken_by_naming_it,
            tests::who_was_not_referred_is_refused_and_the_call_goes_on,
            tests::what_is_not_there_or_not_early_is_refused_as_the_rfc_says,
            tests::an_offer_that_is_refused_leaves_the_call_as_it_was,
            tests::who_gives_up_while_he_takes_a_place_leaves_the_call_as_it_was,
        ],
        true,
    );
}

#[test]
fn a_call_that_has_moved_twice_is_still_one_call() {
    on_all_shards(&[crate::b2bua_transfer::a_call_that_was_joined_twice_goes_on_both_ways], true);
}

/// The same on servers that may not hand over anything.
#[test]
fn a_full_table_of_aliases_refuses_and_says_so() {
    let mut refused = 0;
    for secret in 0..24 {
        WAY.set((4, secret, false));
        let limits = Limits { aliases: 0, ..Limits::default() };
        let mut call = talking_on(server_with(Settings { limits, ..settings() }, &[BOB]), "", "");
        with_carol(&mut call.server);
        let sent =
            call.server.receive(BOB, &call.bob.request("REFER", "Refer-To: <sip:*51@sip.test>\r\n", ""));
        let parked = to(&sent, BOB).iter().any(|message| body(message).starts_with("SIP/2.0 200"));
        let before = call.server.engine.counters().aliases_full;
        let fetched = carol_calls(&mut call.server, "*51", "fetch", CAROLS);
        let full = call.server.engine.counters().aliases_full - before;
        let answer = code(to(&fetched, CAROL).last().expect("an answer"));
        match full {
            0 => assert_eq!(answer, if parked { 200 } else { 404 }),
            _ => assert_eq!(answer, 480),
        }
        refused += full;
    }
    WAY.set((1, 7, false));
    assert!(refused > 0);
}

/// Whatever word between shards is lost, calls end and nothing is left.
#[test]
fn a_lost_word_between_shards_leaves_nothing_behind() {
    let mut lost = 0;
    for (secret, lose) in (0..6).flat_map(|secret| (0..12).map(move |lose| (secret, lose))) {
        WAY.set((3, secret, false));
        let mut call = talking();
        with_carol(&mut call.server);
        call.server.engine.loses = Some(lose);
        let (consult, mut carol) = consulted(&mut call);
        let refer = call.bob.request("REFER", &replacing(&consult), "");
        let mut sent = call.server.receive(BOB, &refer);
        sent.extend(call.server.pass(6));
        sent.extend(carol_calls(&mut call.server, "*51", "fetch", CAROLS));
        lost += u64::from(call.server.engine.loses.is_none());
        // All phones hang up what they have, and take whatever comes.
        let mut byes =
            vec![(ALICE, call.alice.request("BYE", "", "")), (BOB, call.bob.request("BYE", "", ""))];
        byes.push((CAROL, carol.request("BYE", "", "")));
        byes.push((BOB, consult.clone().request("BYE", "", "")));
        for (phone, bye) in byes {
            sent.extend(call.server.receive(phone, &bye));
        }
        while let Some((to, message)) = sent.pop() {
            let phone = [ALICE, BOB, CAROL].into_iter().find(|phone| *phone == to).expect("a phone");
            if message.is_request() && method(&message) != "ACK" {
                sent.extend(call.server.receive(phone, &response(&message, "481 Gone", "", phone, "", "")));
            }
        }
        call.server.pass(800);
        at_rest(&mut call.server);
    }
    WAY.set((1, 7, false));
    assert!(lost > 12, "{lost}");
}
