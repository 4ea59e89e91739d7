"""The scenarios of The Update Framework's suites, by name, and why some have no counterpart here.

From the conformance suite (github.com/theupdateframework/tuf-conformance) and from the reference client's own
tests (github.com/theupdateframework/python-tuf, `tests/`), as `FILE::NAME[CASE]`; names that later versions
of a suite replaced are kept. The tests are those of `test_update_framework_*.py`.
"""

from typing import Final

SUITE: Final[dict[str, str]] = {
    "basic": """
        test_basic_init_and_refresh test_implicit_refresh test_invalid_initial_root test_unsigned_initial_root
        test_unsigned_metadata[root] test_unsigned_metadata[timestamp] test_unsigned_metadata[snapshot]
        test_unsigned_metadata[targets] test_url_and_metadata_version_mismatch[root]
        test_url_and_metadata_version_mismatch[snapshot] test_url_and_metadata_version_mismatch[targets]
        test_timestamp_content_changes test_timestamp_eq_versions_check test_basic_metadata_hash_support
        test_new_targets_hash_mismatch test_new_targets_version_mismatch test_metadata_bytes_match
        test_custom_fields test_deprecated_keyid_hash_algorithms test_snapshot_404 test_targets_404
        test_timestamp_404 test_incorrect_metadata_type test_faketime""",
    "rollback": """
        test_simple_snapshot_rollback test_new_timestamp_version_rollback test_snapshot_rollback[basic]
        test_snapshot_rollback[with-hashes] test_new_targets_fast_forward_recovery
        test_targets_fast_forward_recovery test_new_snapshot_fast_forward_recovery
        test_new_snapshot_version_mismatch test_new_timestamp_fast_forward_recovery
        test_targets_rollback[basic] test_targets_rollback[with-hashes]""",
    "expiration": """
        test_root_expired test_snapshot_expired test_targets_expired test_expired_metadata
        test_timestamp_expired""",
    "delegated_expiration": """
        test_delegated_targets_expired test_expired_local_delegated_targets
        test_expired_local_delegated_targets_updates""",
    "keys": """
        test_snapshot_does_not_meet_threshold test_root_has_keys_but_not_snapshot test_wrong_hashing_algorithm
        test_snapshot_threshold test_snapshot_has_too_few_keys test_duplicate_keys test_duplicate_sig_keyids
        test_keytype_and_scheme[rsa/rsassa-pss-sha256] test_keytype_and_scheme[ecdsa/ecdsa-sha2-nistp256]
        test_keytype_and_scheme[ed25519/ed25519] test_invalid_sig_in_valid_metadata""",
    "file_download": """
        test_client_downloads_expected_file test_client_downloads_expected_file_in_sub_dir
        test_repository_substitutes_target_file test_multiple_changes_to_target test_artifact_cache
        test_download_with_hash_algorithms[hashes0] test_download_with_hash_algorithms[hashes1]
        test_download_with_hash_algorithms[hashes2]""",
    "quoting_issues": """
        test_unusual_role_name[?] test_unusual_role_name[#] test_unusual_role_name[/delegatedrole]
        test_unusual_role_name[../delegatedrole]""",
    "static_repositories": """
        test_static_repository[tuf-on-ci-0.11] test_static_repository[sigstore-root-signing]""",
    "key_rotations": """
        test_root_rotation[1-of-1-key-rotation] test_root_rotation[1-of-1-key-rotation-unused-signatures]
        test_root_rotation[3-of-5-sign-with-different-keycombos] test_root_rotation[3-of-5-one-key-rotated]
        test_root_rotation[3-of-5-one-key-rotated-with-intermediate-step]
        test_root_rotation[3-of-5-all-keys-rotated-with-intermediate-step]
        test_root_rotation[1-of-3-threshold-increase-to-2-of-3]
        test_root_rotation[2-of-3-threshold-decrease-to-1-of-3]
        test_root_rotation[1-of-2-threshold-increase-to-2-of-2]
        test_root_rotation[1-of-1-key-rotation-fail-not-signed-with-old-key]
        test_root_rotation[1-of-1-key-rotation-fail-not-signed-with-new-key]
        test_root_rotation[3-of-5-one-key-rotate-fails-not-signed-with-3-new-keys]
        test_root_rotation[3-of-5-one-key-rotate-fails-not-signed-with-3-old-keys]
        test_root_rotation[1-of-3-threshold-bump-to-2-of-3-fails-new-threshold-not-reached]
        test_root_rotation[2-of-3-threshold-decr-to-1-of-3-fails-old-threshold-not-eached]
        test_non_root_rotations[1-of-1-key-rotation]
        test_non_root_rotations[1-of-1-key-rotation-unused-signatures]
        test_non_root_rotations[1-of-1-key-rotation-fail-not-signed-with-new-key]
        test_non_root_rotations[3-of-5-one-key-signature-wrong-not-signed-with-3-expected-keys]
        test_non_root_rotations[2-of-5-one-key-signature-mising-threshold-not-reached]
        test_non_root_rotations[3-of-5-sign-first-combo] test_non_root_rotations[3-of-5-sign-second-combo]
        test_non_root_rotations[3-of-5-sign-third-combo] test_non_root_rotations[3-of-5-sign-fourth-combo]
        test_non_root_rotations[3-of-5-sign-fifth-combo]""",
    "delegation_graphs": """
        test_graph_traversal[basic-delegation] test_graph_traversal[single-level-delegations]
        test_graph_traversal[two-level-delegations]
        test_graph_traversal[two-level-test-DFS-order-of-traversal]
        test_graph_traversal[three-level-delegation-test-DFS-order-of-traversal]
        test_graph_traversal[two-level-terminating-ignores-all-but-roles-descendants]
        test_graph_traversal[three-level-terminating-ignores-all-but-roles-descendants]
        test_graph_traversal[two-level-ignores-all-branches-not-matching-paths]
        test_graph_traversal[three-level-ignores-all-branches-not-matching-paths]
        test_graph_traversal[cyclic-graph] test_graph_traversal[two-roles-delegating-to-a-third]
        test_graph_traversal[two-roles-delegating-to-a-third-different-paths]
        test_targetfile_search[no-delegations] test_targetfile_search[targetpath-matches-wildcard]
        test_targetfile_search[targetpath-with-separators-x]
        test_targetfile_search[targetpath-with-separators-y]
        test_targetfile_search[targetpath-is-not-delegated-by-all-roles-in-the-chain]""",
    "python-tuf/top_level": """
        test_first_time_refresh test_trusted_root_missing test_trusted_root_expired test_trusted_root_unsigned
        test_max_root_rotations test_intermediate_root_incorrectly_signed test_intermediate_root_expired
        test_final_root_incorrectly_signed test_new_root_same_version test_new_root_nonconsecutive_version
        test_final_root_expired test_new_timestamp_unsigned test_new_timestamp_version_rollback
        test_new_timestamp_snapshot_rollback test_new_timestamp_expired
        test_new_timestamp_fast_forward_recovery test_new_snapshot_hash_mismatch test_new_snapshot_unsigned
        test_new_snapshot_version_mismatch test_new_snapshot_version_rollback
        test_new_snapshot_fast_forward_recovery test_new_snapshot_expired test_new_targets_hash_mismatch
        test_new_targets_unsigned test_new_targets_version_mismatch test_new_targets_expired
        test_compute_metafile_hashes_length test_new_targets_fast_forward_recovery
        test_not_loading_targets_twice test_snapshot_rollback_with_local_snapshot_hash_mismatch
        test_load_metadata_from_cache""",
    "python-tuf/trusted_set": """
        test_update test_update_metadata_output test_out_of_order_ops test_root_with_invalid_json
        test_top_level_md_with_invalid_json test_update_root_new_root
        test_update_root_new_root_fail_threshold_verification
        test_update_root_new_root_ver_same_as_trusted_root_ver test_root_expired_final_root
        test_update_timestamp_new_timestamp_ver_below_trusted_ver
        test_update_timestamp_snapshot_ver_below_current test_update_timestamp_expired
        test_update_snapshot_length_or_hash_mismatch test_update_snapshot_fail_threshold_verification
        test_update_snapshot_version_diverge_timestamp_snapshot_version
        test_update_snapshot_file_removed_from_meta test_update_snapshot_meta_version_decreases
        test_update_snapshot_expired_new_snapshot test_update_snapshot_successful_rollback_checks
        test_update_targets_no_meta_in_snapshot test_update_targets_hash_diverge_from_snapshot_meta_hash
        test_update_targets_version_diverge_snapshot_meta_version test_update_targets_expired_new_target""",
    "python-tuf/fetch_target": """
        test_fetch_target[standard-case] test_fetch_target[non-asci-case] test_fetch_target[subdirectory-case]
        test_download_targets_with_succinct_roles test_invalid_target_download test_invalid_target_cache""",
    "python-tuf/updater": """
        test_refresh_and_download test_refresh_with_only_local_root test_implicit_refresh_with_only_local_root
        test_both_target_urls_not_set test_no_target_dir_no_filepath test_external_targets_url
        test_length_hash_mismatch test_updating_root test_missing_targetinfo test_persist_metadata_fails
        test_invalid_target_base_url test_non_existing_target_file""",
    "python-tuf/validation": """
        test_bootstrap_argument_required test_local_target_storage_fail test_non_existing_metadata_dir""",
    "python-tuf/consistent_snapshot": """
        test_top_level_roles_update test_delegated_roles_update test_download_targets""",
    "python-tuf/graphs": """
        test_graph_traversal[max-number-of-delegations] test_invalid_metadata[unsigned-delegated-role]
        test_safely_encoded_rolenames test_hash_bins_graph_traversal
        test_succinct_hash_bins_graph_traversal""",
    "python-tuf": """
        test_arbitrary_package_attack test_endless_data_attack test_extraneous_dependencies_attack
        test_fast_forward_attack test_freeze_attack_stale_expiry_check test_indefinite_freeze_attack
        test_key_revocation_integration test_mix_and_match_attack test_replay_attack
        test_root_versioning_integration test_slow_retrieval_attack""",
}
SCENARIOS: Final = tuple(f"{file}::{name}" for file, listed in SUITE.items() for name in listed.split())

_NO_SEARCH = (
    "no role is searched for what it lists: a reference names a model, and the policy says who may publish it"
)
_ONLY_ALLOWS = "rules only ever allow, so none ends a search and their order does not matter"
_NO_BINS = "models are not spread over roles by hashes: each has a folder of its own"
_ONE_LAYOUT = "there is one layout: every object is written once under a number or an id of its own"
_NO_URLS = "a vault has one location, which holds documents and payloads alike"
_OTHER_FORMAT = "another format's repositories; those of this one are in tests/vectors/"
_TYPED = "each step takes the previous one's result as a value, so the order is one of types (core/stages.py)"

# Scenario → why there is nothing to test.
NOT_APPLICABLE: Final[dict[str, str]] = {
    "basic::test_metadata_bytes_match": "documents are not kept on disk: memory holds their digests",
    "file_download::test_download_with_hash_algorithms[hashes1]": "SHA-256 is the only digest",
    "file_download::test_download_with_hash_algorithms[hashes2]": "SHA-256 is the only digest",
    "static_repositories::test_static_repository[tuf-on-ci-0.11]": _OTHER_FORMAT,
    "static_repositories::test_static_repository[sigstore-root-signing]": _OTHER_FORMAT,
    "delegation_graphs::test_graph_traversal[basic-delegation]": _NO_SEARCH,
    "delegation_graphs::test_graph_traversal[single-level-delegations]": _NO_SEARCH,
    "delegation_graphs::test_graph_traversal[two-level-delegations]": _NO_SEARCH,
    "delegation_graphs::test_graph_traversal[two-level-test-DFS-order-of-traversal]": _NO_SEARCH,
    "delegation_graphs::test_graph_traversal[three-level-delegation-test-DFS-order-of-traversal]": _NO_SEARCH,
    "delegation_graphs::test_graph_traversal"
    "[two-level-terminating-ignores-all-but-roles-descendants]": _ONLY_ALLOWS,
    "delegation_graphs::test_graph_traversal"
    "[three-level-terminating-ignores-all-but-roles-descendants]": _ONLY_ALLOWS,
    "python-tuf/graphs::test_graph_traversal[max-number-of-delegations]": _NO_SEARCH,
    "python-tuf/graphs::test_hash_bins_graph_traversal": _NO_BINS,
    "python-tuf/graphs::test_succinct_hash_bins_graph_traversal": _NO_BINS,
    "python-tuf/fetch_target::test_download_targets_with_succinct_roles": _NO_BINS,
    "python-tuf/consistent_snapshot::test_top_level_roles_update": _ONE_LAYOUT,
    "python-tuf/consistent_snapshot::test_delegated_roles_update": _ONE_LAYOUT,
    "python-tuf/consistent_snapshot::test_download_targets": _ONE_LAYOUT,
    "python-tuf/top_level::test_compute_metafile_hashes_length": "digests are in every mark, never optional",
    "python-tuf/updater::test_both_target_urls_not_set": _NO_URLS,
    "python-tuf/updater::test_no_target_dir_no_filepath": "a place to pull to is a required argument",
    "python-tuf/updater::test_external_targets_url": _NO_URLS,
    "python-tuf/updater::test_invalid_target_base_url": _NO_URLS,
    "python-tuf/trusted_set::test_update_metadata_output": _TYPED,
    "python-tuf/trusted_set::test_out_of_order_ops": _TYPED,
    "python-tuf::test_slow_retrieval_attack": "no store here goes over a network; timeouts are an adapter's",
    "python-tuf::test_extraneous_dependencies_attack": "packages name no others to be fetched with them",
}

# Scenario → the test elsewhere that is about the same: file and name.
ELSEWHERE: Final[dict[str, tuple[str, str]]] = {
    "python-tuf/updater::test_persist_metadata_fails": (
        "tests/core/test_memory_client.py",
        "test_a_disk_that_fails_is_said_and_loses_nothing",
    ),
    "python-tuf/updater::test_updating_root": (
        "tests/e2e/test_root_rotation.py",
        "test_from_one_owner_to_two_of_three",
    ),
    "python-tuf/validation::test_bootstrap_argument_required": (
        "tests/cli/test_cli_trust.py",
        "test_trust_on_first_use_needs_a_person_at_a_terminal",
    ),
    "python-tuf/validation::test_local_target_storage_fail": (
        "tests/attacks/test_plaintext_left_behind.py",
        "test_a_full_disk_is_told_as_such_and_leaves_nothing",
    ),
    "python-tuf/validation::test_non_existing_metadata_dir": (
        "tests/core/test_memory_client.py",
        "test_without_a_state_folder_a_process_still_remembers",
    ),
}
