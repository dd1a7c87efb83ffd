package Test::Nginx::Socket;

# The module that .t files use. It only gathers what the others offer under the
# names of the original; Test::Base brings the file format and its exports.

use strict;
use warnings;

use Test::Base -base;

use Test::Nginx::Check qw( is_str );
use Test::Nginx::ErrorLog qw( error_log_data );
use Test::Nginx::Ports qw( port_is_free reserve_port );
use Test::Nginx::Runner qw( run_tests bail_out );
use Test::Nginx::Util ();

our @EXPORT = qw(
    run_tests run_test repeat_each plan blocks bail_out is_str error_log_data
    no_diff no_long_string no_shuffle no_root_location no_nginx_manager
    workers worker_connections master_on master_process_enabled log_level
    timeout check_accum_error_log use_hup config_preamble
    server_name server_addr server_root server_port server_port_for_client html_dir
    env_to_nginx add_block_preprocessor add_cleanup_handler add_response_body_check
    gen_rand_port get_unused_port is_tcp_port_used
);

BEGIN {
    no strict 'refs';
    *{$_} = \&{"Test::Nginx::Util::$_"} for qw(
        repeat_each no_long_string no_shuffle no_root_location no_nginx_manager
        workers worker_connections master_on master_process_enabled log_level
        timeout check_accum_error_log use_hup config_preamble
        server_name server_addr server_root server_port server_port_for_client html_dir
        env_to_nginx add_block_preprocessor add_cleanup_handler add_response_body_check
    );
}

sub run_test         { return Test::Nginx::Runner::run_block(@_) }
sub gen_rand_port    { return reserve_port() }
sub get_unused_port  { return reserve_port() }
sub is_tcp_port_used { return !port_is_free(shift) }

# Old test files read and set it by this name.
our $RepeatEach;
*RepeatEach = \$Test::Nginx::Util::RepeatEach;

1;
