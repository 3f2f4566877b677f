//! What is known of the functions and relations of `pg_catalog`.
//!
//! Guarantees: a name that begins with `pg_` is on a list of those that answer alike on a standby,
//! or unfit. So what newer servers bring under such a name is unfit until it is looked at.

use super::Unfit;

/// The volatile functions of PostgreSQL 15, sorted:
///
/// ```sql
/// SELECT DISTINCT proname FROM pg_proc
/// WHERE pronamespace = 'pg_catalog'::regnamespace AND provolatile = 'v' AND prokind <> 'p'
///   AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
///   AND proname !~ '^binary_upgrade' ORDER BY proname;
/// ```
const VOLATILE: &str = "\
amvalidate bernoulli brin_desummarize_range brin_summarize_new_values \
brin_summarize_range brinhandler bthandler clock_timestamp current_query currtid2 currval \
cursor_to_xml cursor_to_xmlschema dsnowball_init dsnowball_lexize gen_random_uuid \
gin_clean_pending_list ginhandler gisthandler hashhandler heap_tableam_handler lastval \
lo_close lo_creat lo_create lo_export lo_from_bytea lo_get lo_import lo_lseek lo_lseek64 \
lo_open lo_put lo_tell lo_tell64 lo_truncate lo_truncate64 lo_unlink loread lowrite \
nextval pg_advisory_lock pg_advisory_lock_shared pg_advisory_unlock \
pg_advisory_unlock_all pg_advisory_unlock_shared pg_advisory_xact_lock \
pg_advisory_xact_lock_shared pg_backup_start pg_backup_stop pg_blocking_pids \
pg_cancel_backend pg_collation_actual_version pg_control_checkpoint pg_control_init \
pg_control_recovery pg_control_system pg_copy_logical_replication_slot \
pg_copy_physical_replication_slot pg_create_logical_replication_slot \
pg_create_physical_replication_slot pg_create_restore_point pg_current_logfile \
pg_current_wal_flush_lsn pg_current_wal_insert_lsn pg_current_wal_lsn \
pg_database_collation_actual_version pg_database_size pg_drop_replication_slot \
pg_export_snapshot pg_extension_config_dump pg_get_backend_memory_contexts \
pg_get_multixact_members pg_get_shmem_allocations pg_get_wal_replay_pause_state \
pg_get_wal_resource_managers pg_hba_file_rules pg_ident_file_mappings \
pg_import_system_collations pg_indexes_size pg_is_in_recovery pg_is_wal_replay_paused \
pg_isolation_test_session_is_blocked pg_jit_available pg_last_committed_xact \
pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp \
pg_lock_status pg_log_backend_memory_contexts pg_logical_emit_message \
pg_logical_slot_get_binary_changes pg_logical_slot_get_changes \
pg_logical_slot_peek_binary_changes pg_logical_slot_peek_changes pg_ls_archive_statusdir \
pg_ls_dir pg_ls_logdir pg_ls_logicalmapdir pg_ls_logicalsnapdir pg_ls_replslotdir \
pg_ls_tmpdir pg_ls_waldir pg_nextoid pg_notification_queue_usage pg_notify \
pg_partition_ancestors pg_partition_tree pg_prepared_xact pg_promote pg_read_binary_file \
pg_read_file pg_read_file_old pg_relation_size pg_reload_conf \
pg_replication_origin_advance pg_replication_origin_create pg_replication_origin_drop \
pg_replication_origin_progress pg_replication_origin_session_is_setup \
pg_replication_origin_session_progress pg_replication_origin_session_reset \
pg_replication_origin_session_setup pg_replication_origin_xact_reset \
pg_replication_origin_xact_setup pg_replication_slot_advance pg_rotate_logfile \
pg_rotate_logfile_old pg_safe_snapshot_blocking_pids pg_sequence_last_value \
pg_show_all_file_settings pg_show_replication_origin_status pg_sleep pg_sleep_for \
pg_sleep_until pg_stat_clear_snapshot pg_stat_file pg_stat_force_next_flush \
pg_stat_get_recovery_prefetch pg_stat_get_xact_blocks_fetched pg_stat_get_xact_blocks_hit \
pg_stat_get_xact_function_calls pg_stat_get_xact_function_self_time \
pg_stat_get_xact_function_total_time pg_stat_get_xact_numscans \
pg_stat_get_xact_tuples_deleted pg_stat_get_xact_tuples_fetched \
pg_stat_get_xact_tuples_hot_updated pg_stat_get_xact_tuples_inserted \
pg_stat_get_xact_tuples_returned pg_stat_get_xact_tuples_updated pg_stat_have_stats \
pg_stat_reset pg_stat_reset_replication_slot pg_stat_reset_shared \
pg_stat_reset_single_function_counters pg_stat_reset_single_table_counters \
pg_stat_reset_slru pg_stat_reset_subscription_stats pg_stop_making_pinned_objects \
pg_switch_wal pg_table_size pg_tablespace_size pg_terminate_backend \
pg_total_relation_size pg_try_advisory_lock pg_try_advisory_lock_shared \
pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared pg_wal_replay_pause \
pg_wal_replay_resume pg_xact_commit_timestamp pg_xact_commit_timestamp_origin \
pg_xact_status plpgsql_call_handler plpgsql_inline_handler plpgsql_validator query_to_xml \
query_to_xml_and_xmlschema query_to_xmlschema random set_config setseed setval spghandler \
system timeofday ts_rewrite ts_stat txid_status";

/// Volatile ones that PostgreSQL 16 to 18 have brought, other than `pg_..`, sorted.
const VOLATILE_SINCE: &str = "array_sample array_shuffle random_normal uuidv4 uuidv7";

/// Functions that are not volatile and answer otherwise on another server, or go through all of a
/// database, volatile views included. Sorted; those that begin with `pg_` need no mention.
const OF_ONE_SERVER: &str = "\
cursor_to_xml cursor_to_xmlschema database_to_xml database_to_xml_and_xmlschema \
database_to_xmlschema inet_client_addr inet_client_port inet_server_addr inet_server_port \
schema_to_xml schema_to_xml_and_xmlschema schema_to_xmlschema table_to_xml \
table_to_xml_and_xmlschema table_to_xmlschema txid_current txid_current_if_assigned \
txid_current_snapshot version";

/// Functions `pg_..` that are not volatile and answer alike on a standby, sorted.
const ALIKE: &str = "\
pg_char_to_encoding pg_client_encoding pg_collation_for pg_collation_is_visible \
pg_column_compression pg_column_is_updatable pg_column_size pg_conversion_is_visible \
pg_describe_object pg_encoding_max_length pg_encoding_to_char pg_function_is_visible \
pg_get_constraintdef pg_get_expr pg_get_function_arg_default pg_get_function_arguments \
pg_get_function_identity_arguments pg_get_function_result pg_get_function_sqlbody \
pg_get_functiondef pg_get_indexdef pg_get_keywords pg_get_object_address \
pg_get_partition_constraintdef pg_get_partkeydef pg_get_publication_tables \
pg_get_replica_identity_index pg_get_ruledef pg_get_serial_sequence pg_get_statisticsobjdef \
pg_get_statisticsobjdef_columns pg_get_statisticsobjdef_expressions pg_get_triggerdef \
pg_get_userbyid pg_get_viewdef pg_has_role pg_identify_object pg_identify_object_as_address \
pg_index_column_has_property pg_index_has_property pg_indexam_has_property \
pg_indexam_progress_phasename pg_lsn pg_lsn_cmp pg_lsn_larger pg_lsn_mi pg_lsn_smaller \
pg_opclass_is_visible pg_operator_is_visible pg_opfamily_is_visible pg_options_to_table \
pg_partition_root pg_relation_is_publishable pg_relation_is_updatable pg_sequence_parameters \
pg_size_bytes pg_size_pretty pg_statistics_obj_is_visible pg_table_is_visible \
pg_ts_config_is_visible pg_ts_dict_is_visible pg_ts_parser_is_visible \
pg_ts_template_is_visible pg_type_is_visible pg_typeof pg_wal_lsn_diff";

/// Relations `pg_..` that are tables of the catalog, or views that show nothing else. Sorted.
const CATALOGS: &str = "\
pg_aggregate pg_am pg_amop pg_amproc pg_attrdef pg_attribute pg_auth_members pg_authid pg_cast \
pg_class pg_collation pg_constraint pg_conversion pg_database pg_db_role_setting \
pg_default_acl pg_depend pg_description pg_enum pg_event_trigger pg_extension \
pg_foreign_data_wrapper pg_foreign_server pg_foreign_table pg_group pg_index pg_indexes \
pg_inherits pg_init_privs pg_language pg_largeobject pg_largeobject_metadata pg_matviews \
pg_namespace pg_opclass pg_operator pg_opfamily pg_parameter_acl pg_partitioned_table \
pg_policies pg_policy pg_proc pg_publication pg_publication_namespace pg_publication_rel \
pg_publication_tables pg_range pg_rewrite pg_roles pg_rules pg_seclabel pg_seclabels \
pg_sequence pg_shadow pg_shdepend pg_shdescription pg_shseclabel pg_statistic \
pg_statistic_ext pg_statistic_ext_data pg_stats pg_stats_ext pg_stats_ext_exprs \
pg_subscription pg_subscription_rel pg_tables pg_tablespace pg_transform pg_trigger \
pg_ts_config pg_ts_config_map pg_ts_dict pg_ts_parser pg_ts_template pg_type pg_user \
pg_user_mapping pg_user_mappings pg_views";

/// Whether a function of that name, if it is PostgreSQL's own, may run on a standby. One of the
/// user's own that has such a name is taken for it.
pub(super) fn check_function(name: &str) -> Result<(), Unfit> {
    match name {
        "currval" | "lastval" | "nextval" | "setval" => Err(Unfit::Sequence),
        "set_config" | "setseed" => Err(Unfit::SessionState),
        _ if name.starts_with("pg_advisory_") || name.starts_with("pg_try_advisory_") => {
            Err(Unfit::SessionState)
        }
        _ if has(VOLATILE, name) || has(VOLATILE_SINCE, name) => Err(Unfit::Volatile),
        _ if has(OF_ONE_SERVER, name) => Err(Unfit::Server),
        _ if is_reserved(name) && !has(ALIKE, name) => Err(Unfit::Server),
        _ => Ok(()),
    }
}

/// Whether a relation speaks of the server that it is read on: activity, locks, settings.
pub(super) fn is_of_one_server(relation: &str) -> bool {
    is_reserved(relation) && !has(CATALOGS, relation)
}

fn is_reserved(name: &str) -> bool {
    name.starts_with("pg_") || name.starts_with("binary_upgrade_")
}

/// A few microseconds at the most, once for each distinct text.
fn has(list: &str, name: &str) -> bool {
    list.split(' ').any(|entry| entry == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_and_have_each_name_once() {
        for list in [VOLATILE, VOLATILE_SINCE, OF_ONE_SERVER, ALIKE, CATALOGS] {
            let names: Vec<&str> = list.split(' ').collect();
            assert!(names.is_sorted_by(|a, b| a < b), "{list}");
        }
    }

    #[test]
    fn what_is_alike_everywhere_is_not_volatile() {
        for name in ALIKE.split(' ') {
            assert_eq!(check_function(name), Ok(()), "{name}");
        }
    }
}
