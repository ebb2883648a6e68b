"""Every line of the Trust table (docs/decisions.md) has tests that hold it: here is which.

A test is named as pytest names it, without its parameters, or a file or class of them; a case of the attack table by
its number. What stands behind the number of a line is the part of it that they hold.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.attacks.chapters import TABLE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "decisions.md").read_text()

_UNIT = "tests/unit"
_JUDGE = f"{_UNIT}/identities/test_judge.py::"
_SAS = f"{_UNIT}/identities/test_sas.py::"
_ENROLL = f"{_UNIT}/provisioning/test_enrollments.py::"
_ATTEST = f"{_UNIT}/provisioning/test_attestation.py::"
_CAS = f"{_UNIT}/certificates/test_service.py::"
_PROOF = f"{_UNIT}/pki/test_possession.py::"
_SESSIONS = "tests/servers/test_sessions.py::"
_CONNECT = "tests/servers/test_connect.py::"
_TLS = "tests/servers/test_tls.py::"
_ENGINE = "tests/protocol/tls/test_engine.py::"
_EGRESS = f"{_UNIT}/adapters/test_egress.py::"
_DEFAULTS = "tests/servers/test_defaults.py::"
_WAIVERS = f"{_UNIT}/certificates/test_waivers.py::"
_HUB = "tests/cli/test_with_hub.py::"

HELD: Final[dict[str, tuple[str, ...]]] = {
    "T1: every slot has a proof state": (
        f"{_ENROLL}test_a_code_is_bound_to_its_slot_and_to_the_state_it_was_made_for",
        f"{_ENROLL}test_proof_survives_being_sent_again_and_moving_to_the_other_slot_but_not_another_certificate",
    ),
    "T1: an upload by a credential is vouched for by it, audited, and can be forbidden": (
        f"{_ENROLL}test_an_upload_by_a_credential_is_vouched_for_and_written_to_the_audit_log",
        f"{_ENROLL}test_the_switch_of_the_hub_forbids_vouching",
        "A-323",
    ),
    "T1: what is unverified admits nobody": (
        f"{_ATTEST}test_an_unproven_certificate_admits_nobody_until_it_is_proven",
        f"{_ENROLL}test_an_operator_can_vouch_for_a_slot",
    ),
    "T1: CA references point to registered CAs, which must be proven": (
        f"{_ENROLL}test_a_ca_reference_needs_a_ca_that_is_registered_and_proven",
        f"{_ATTEST}test_a_group_with_ca_references_admits_below_them_as_long_as_they_are_proven",
    ),
    "T2: bound to the anchors of its enrollment, and rolls with them": (
        f"{_JUDGE}test_a_device_of_an_enrollment_group_is_judged_by_that_group_alone",
        f"{_ENROLL}test_the_trust_cache_follows_a_group",
        f"{_ENROLL}test_the_trust_cache_follows_a_referenced_ca",
        "A-158",
    ),
    "T2: made by hand, anchored in the proven CAs of the hub": (
        f"{_JUDGE}test_a_leaf_below_two_intermediates_of_a_trusted_root_is_let_in",
        f"{_JUDGE}test_an_unproven_ca_lets_nobody_in",
        "A-155",
    ),
    "T2: a group's CA is never an anchor of the hub": ("A-156", f"{_CAS}test_the_two_services_have_their_own_anchors"),
    "T2: ca add registers for both": (
        f"{_HUB}test_a_ca_is_registered_and_proven_step_by_step",
        f"{_HUB}test_a_ca_is_vouched_for_and_for_one_service_alone_when_told",
    ),
    "T3: exactly one, byte for byte": (
        f"{_JUDGE}test_the_common_name_has_to_be_the_device_id",
        f"{_JUDGE}test_a_certificate_with_none_or_several_common_names_is_refused",
        f"{_JUDGE}test_a_module_is_named_device_slash_module_by_its_certificate",
    ),
    "T3: a pinned certificate by its hash": (
        f"{_JUDGE}test_a_pinned_certificate_may_be_issued_by_anyone_and_carry_any_name",
        f"{_ATTEST}test_a_pinned_certificate_is_matched_by_its_hash_whatever_its_common_name",
    ),
    "T3: registration ids have no case, and a second spelling is refused": (
        f"{_ENROLL}test_names_are_found_without_case_and_a_second_spelling_is_refused",
        f"{_ATTEST}test_two_certificates_whose_names_differ_in_case_do_not_share_a_registration",
        f"{_ATTEST}test_a_second_spelling_of_an_enrolled_registration_id_is_refused",
        "A-306",
        "A-307",
    ),
    "T4: the registered type selects": (
        f"{_JUDGE}test_a_good_token_does_not_help_where_the_certificate_is_bad",
        f"{_JUDGE}test_a_good_certificate_does_not_help_where_the_token_is_bad",
        f"{_CONNECT}test_a_certificate_does_not_stand_in_for_a_token_nor_a_token_for_a_certificate",
        "tests/servers/test_device_http.py::test_the_registered_kind_selects_the_credential",
    ),
    "T4: SharedAccessKey and x509=true is X.509": (
        f"{_JUDGE}test_an_x509_device_with_a_shared_key_in_its_connection_string_logs_in_by_its_certificate",
    ),
    "T5: replacing cuts nobody": (
        f"{_SESSIONS}test_removing_a_ca_cuts_its_sessions_and_replacing_it_does_not",
        f"{_SESSIONS}test_taking_a_thumbprint_out_cuts_its_session_and_rolling_it_does_not",
        f"{_CAS}test_replacing_cuts_nobody_and_the_new_certificate_has_to_be_proven_again",
        f"{_ENROLL}test_a_roll_through_both_slots_replaces_and_only_taking_away_removes",
    ),
    "T5: removing, distrusting, revoking, disabling, deleting and expiry cut": (
        f"{_SESSIONS}test_disabling_ends_the_sessions_of_a_device_and_of_its_modules",
        f"{_SESSIONS}test_disabling_a_group_cuts_those_too_that_hang_on_a_certificate_replaced_before",
        f"{_SESSIONS}test_a_session_ends_with_its_certificate",
        f"{_SESSIONS}test_a_session_ends_with_its_token",
        f"{_SESSIONS}test_switching_tokens_off_cuts_those_who_came_with_one",
        "tests/servers/test_waivers.py::test_taking_a_waiver_back_cuts_who_came_in_by_it_and_giving_one_cuts_nobody",
        "tests/servers/test_revocation.py",
    ),
    "T6: signature, code and dates": (
        f"{_PROOF}TestRefused::test_by_a_ca_of_the_same_name_but_another_key",
        f"{_PROOF}TestRefused::test_for_another_code",
        f"{_PROOF}TestRefused::test_outside_its_dates",
        f"{_UNIT}/pki/test_waivers.py::TestPossession",
    ),
    "T6: at least 128 bits, single use, expiring, bound to slot and etag": (
        f"{_PROOF}TestCodes::test_fit_a_common_name_and_cannot_be_guessed",
        f"{_CAS}test_a_code_is_used_once",
        f"{_CAS}test_a_code_runs_out",
        f"{_CAS}test_a_code_is_bound_to_its_slot_and_to_the_state_it_was_made_for",
        "A-202",
        "A-203",
        "A-214",
        "A-220",
    ),
    "T7: unknown and not allowed look the same": (
        f"{_ATTEST}test_a_stranger_is_told_the_same_whether_the_name_exists_or_not",
        "tests/api/test_rights.py::test_a_stranger_hears_the_same_of_what_is_there_and_what_is_not",
        "tests/servers/test_device_http.py::test_a_stranger_hears_one_answer_whoever_he_names",
        "A-750",
        "A-751",
        "A-752",
        "A-753",
        "A-754",
    ),
    "T7: 404201 for whose credential was accepted": (
        f"{_ATTEST}test_a_good_chain_to_a_proven_ca_without_an_enrollment_is_told_that_there_is_none",
        "A-322",
    ),
    "T8: the host alone has no case": (f"{_SAS}test_a_policy_token_opens_what_is_below_its_audience", "A-431", "A-433"),
    "T8: the lower-cased resource of an identity's own key": (
        f"{_SAS}test_an_own_token_names_its_identity_in_every_spelling_that_was_seen",
        "A-430",
        "A-432",
    ),
    "T9: what the validator enforces": (
        f"{_UNIT}/pki/test_rules.py::test_each_line_for_a_leaf_refuses_somebody_whom_no_other_line_does",
        f"{_UNIT}/pki/test_rules.py::test_each_line_for_a_ca_refuses_one_that_no_other_line_does",
        f"{_UNIT}/pki/test_policy.py::TestUntrusted::test_leaf_changed_after_signing",
    ),
    "T10: no signature before our bounds": (
        f"{_ENGINE}test_openssl_builds_no_chain_and_so_checks_no_signature_in_one",
        f"{_ENGINE}test_any_certificate_gets_through_the_handshake_exactly_as_sent",
    ),
    "T10: bytes are capped": (
        f"{_TLS}test_a_chain_that_is_too_large_is_refused_in_the_handshake",
        f"{_ENGINE}test_a_chain_that_is_too_long_for_a_handshake_is_cut_off_and_what_came_is_not_more_than_the_limit",
    ),
    "T10: no resumption, no renegotiation": (
        f"{_TLS}test_a_tls_session_is_not_resumed",
        f"{_ENGINE}test_a_session_cannot_be_redeemed_and_the_certificate_is_asked_for_again",
        f"{_TLS}test_renegotiation_is_refused",
    ),
    "T10: weak certificates reach our refusal": (
        f"{_CONNECT}test_a_weak_key_comes_through_the_handshake_and_is_refused_by_us",
        "A-171",
        "A-172",
    ),
    "T11: the owner's credential and no other; a stub bearer is a 401": (
        f"{_UNIT}/identities/test_access.py::test_a_stub_bearer_opens_nothing",
        "tests/api/hub/test_access.py::test_the_control_plane_takes_the_owners_bearer_and_nothing_else",
        "A-804",
        "A-821",
    ),
    "T12: resolved once and pinned": (f"{_EGRESS}test_the_address_that_was_judged_is_the_one_that_is_called",),
    "T12: ranges": (
        f"{_UNIT}/adapters/test_egress_policy.py::test_a_range_that_is_not_the_internets_is_refused_from_end_to_end",
        f"{_UNIT}/adapters/test_egress_policy.py::test_nothing_is_allowed_beside_the_internet_unless_it_is_named",
        f"{_EGRESS}test_no_spelling_of_an_address_of_our_own_is_called",
    ),
    "T12: no redirects, time and size limits": (
        f"{_EGRESS}test_no_redirect_is_followed",
        f"{_EGRESS}test_the_whole_call_has_one_time_limit",
        f"{_EGRESS}test_an_answer_is_read_up_to_its_limit",
    ),
    "T13: loopback": (
        "tests/cli/test_config.py::test_defaults_listen_on_loopback_alone",
        "tests/cli/test_config.py::test_a_host_name_that_is_not_this_machine_opens_the_hub_to_the_network",
    ),
    "T13: 0700 and 0600": (
        f"{_DEFAULTS}test_every_folder_is_for_the_owner_alone_and_so_is_every_file_that_is_not_for_clients",
        "tests/cli/test_cert.py::test_files_are_named_as_the_tutorials_name_them_and_keys_are_private",
        f"{_UNIT}/adapters/test_files.py::test_a_secret_that_others_may_read_is_closed_to_them_when_it_is_read",
    ),
    "T13: figures": ("tests/api/test_rights.py::test_figures_are_for_this_machine_and_the_owner",),
    "T13: no PFX password": ("tests/cli/test_cert.py::test_a_pfx_file_is_written_under_a_password_alone",),
    "T13: the hub's own CA": (
        f"{_DEFAULTS}test_the_hubs_own_ca_may_vouch_for_its_names_alone",
        f"{_UNIT}/pki/test_issue.py::TestServers::test_constrained_ca_cannot_pose_as_others",
    ),
    "T13: keys at rest, and in the banner": (
        f"{_DEFAULTS}test_keys_of_devices_and_policies_are_nowhere_in_clear",
        "tests/stores/sqlite/test_open.py::test_keys_are_not_in_the_files_in_any_spelling",
        f"{_HUB}test_env_has_exactly_the_names_that_programs_rely_on",
    ),
    "T14: terminals": (
        "tests/cli/test_output.py::test_what_a_terminal_would_act_on_is_written_out",
        "tests/cli/test_cert.py::test_a_common_name_cannot_write_to_the_terminal",
        "tests/cli/test_output.py::test_a_table_in_a_pipe_is_tab_separated_and_escaped",
    ),
    "T14: log lines": (
        f"{_UNIT}/attempts/test_attempts.py::test_the_log_tells_of_a_few_refused_ones_a_second_and_counts_the_rest",
        f"{_CAS}test_each_change_is_in_the_audit_log_with_whoever_made_it",
    ),
    # Nothing is written for spreadsheets: an export is JSON lines.
    "T14: spreadsheets": ("tests/cli/test_plain_words.py::test_an_export_is_not_called_csv",),
    "T15: refused unless waived, and then nothing else passes": (
        f"{_UNIT}/pki/test_waivers.py::test_a_weakness_passes_by_its_own_waivers_and_by_no_others",
        f"{_WAIVERS}test_an_old_ca_is_registered_under_its_waiver_and_its_devices_are_refused_without",
        "A-178",
        "A-180",
        "A-184",
        "A-187",
    ),
    "T16: switches at every door": (
        "tests/servers/test_switches.py::test_a_switch_refuses_its_tokens_at_every_door_and_nobody_else",
        "tests/servers/test_switches.py::test_a_switch_cuts_the_sessions_it_outlaws_and_no_others",
        "A-460",
        "A-464",
        "A-465",
    ),
}


def test_every_line_of_the_table_is_held_by_tests() -> None:
    lines = re.findall(r"^\| (T\d+) \|", PAGE, re.MULTILINE)
    assert len(lines) == len(set(lines)) >= 14
    assert list(dict.fromkeys(clause.partition(":")[0] for clause in HELD)) == lines


def test_the_cases_are_in_the_attack_table() -> None:
    named = {each for tests in HELD.values() for each in tests if each.startswith("A-")}
    assert sorted(named - {case.number for case in TABLE}) == []


def test_the_tests_are_there_and_are_collected() -> None:
    named = sorted({each for tests in HELD.values() for each in tests if not each.startswith("A-")})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *named]
    collected = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert collected.returncode == 0, collected.stdout[-2000:] + collected.stderr[-2000:]
    found = {line.partition("[")[0] for line in collected.stdout.splitlines() if "::" in line}
    assert [each for each in named if not any(test == each or test.startswith(f"{each}::") for test in found)] == []
