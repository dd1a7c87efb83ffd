package Test::Nginx::Evidence;

# What helps to understand a failed block: the end of its log, and a copy of its
# configuration and logs, since the server root is gone when the file has run.

use strict;
use warnings;

use Exporter qw( import );
use File::Basename qw( basename dirname );
use File::Copy qw( copy );
use File::Path qw( make_path remove_tree );
use Test::Builder ();

use Test::Nginx::Check qw( failures );
use Test::Nginx::ErrorLog qw( log_tail );
use Test::Nginx::Util qw( $ServRoot $ConfFile $ErrLogFile $LogDir );

our @EXPORT_OK = qw( show_evidence );

my $builder = Test::Builder->new;
my $failed_dir;
my $failed_count = 0;
my $shown_at     = 0;    # failures() when evidence was last shown

# Does nothing unless something failed since the last call.
sub show_evidence {
    my ($block) = @_;
    return if failures() == $shown_at;
    $shown_at = failures();

    my $dir = _failed_dir() . sprintf '/%02d', ++$failed_count;
    make_path($dir);
    copy( $_, "$dir/" . basename($_) ) for grep { -e } $ConfFile, $ErrLogFile, "$LogDir/stderr.log";

    $builder->diag( 'last lines of error.log of ' . $block->name . ':' );
    $builder->diag("    $_") for map { chomp( my $l = $_ ); $l } log_tail(20);
    $builder->diag("configuration and logs: $dir/nginx.conf, $dir/error.log");
    return;
}

# One directory a .t file, overwritten by its next run, so that nothing piles up.
sub _failed_dir {
    return $failed_dir if $failed_dir;
    my $parent = $ENV{TEST_NGINX_FAILED_DIR} || dirname($ServRoot) . '/servroot_failed';
    $failed_dir = "$parent/" . basename( $0, '.t' );
    remove_tree($failed_dir);
    return $failed_dir;
}

1;
