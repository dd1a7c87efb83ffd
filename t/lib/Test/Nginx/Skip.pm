package Test::Nginx::Skip;

# skip_nginx, skip_nginx2, skip_openssl, skip_eval, todo, todo_nginx, todo_eval.
# Each is "count: condition".

use strict;
use warnings;

use Exporter qw( import );

use Test::Nginx::Util qw( section nginx_version openssl_version version_cmp trim );

our @EXPORT_OK = qw( skip_reason todo_reason );

my $COMPARISON = qr/\s*(>=|<=|>|<|==|=|!=)\s*(\d+(?:\.\d+)*[a-z]?)\s*/;

my %OPERATOR = (
    '<'  => sub { $_[0] < 0 },
    '<=' => sub { $_[0] <= 0 },
    '>'  => sub { $_[0] > 0 },
    '>=' => sub { $_[0] >= 0 },
    '==' => sub { $_[0] == 0 },
    '='  => sub { $_[0] == 0 },
    '!=' => sub { $_[0] != 0 },
);

# Returns (number of tests to skip, reason), or nothing.
sub skip_reason {
    my ($block) = @_;
    return _first_of(
        $block,
        skip_nginx   => _version_rule( 'nginx', \&nginx_version ),
        skip_nginx2  => _version_rule( 'nginx', \&nginx_version ),
        skip_openssl => _version_rule( 'OpenSSL', \&openssl_version ),
        skip_eval    => \&_eval_rule,
    );
}

sub todo_reason {
    my ($block) = @_;
    return _first_of(
        $block,
        todo       => sub { return $_[0] },
        todo_nginx => _version_rule( 'nginx', \&nginx_version ),
        todo_eval  => \&_eval_rule,
    );
}

sub _first_of {
    my ( $block, @rules ) = @_;
    while ( my ( $section, $rule ) = splice @rules, 0, 2 ) {
        my $value = section( $block, $section );
        next if !defined $value;
        my ( $count, $condition ) = $value =~ /\A\s*(\d+)\s*:\s*(.*?)\s*\z/s
            or die "Cannot parse $section of " . $block->name . ": $value\n";
        my $reason = $rule->($condition);
        return ( $count, $reason ) if $reason;
    }
    return;
}

sub _version_rule {
    my ( $what, $version_of ) = @_;
    return sub {
        my ($condition) = @_;
        my ( $op1, $v1, $join, $op2, $v2 ) =
            $condition =~ /\A$COMPARISON(?:(and|or)$COMPARISON)?\z/i
            or die "Cannot parse the version condition \"$condition\".\n";
        my $version = $version_of->();
        my $holds   = $OPERATOR{$op1}->( version_cmp( $version, $v1 ) );
        if ( defined $join ) {
            my $second = $OPERATOR{$op2}->( version_cmp( $version, $v2 ) );
            $holds = lc $join eq 'and' ? $holds && $second : $holds || $second;
        }
        return $holds ? "$what $version is $condition" : undef;
    };
}

sub _eval_rule {
    my ($code) = @_;
    my $holds = eval "package main; no strict; $code";
    die "skip_eval or todo_eval \"$code\": $@" if $@;
    return $holds ? "condition holds: $code" : undef;
}

1;
