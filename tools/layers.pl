#!/usr/bin/env perl
# Enforces the layers of docs/architecture.md: which top-level module may import
# which, and where `unsafe` may stand. Reads Rust well enough for that: comments
# and strings are taken out, then every path that starts at the crate is looked
# at, including grouped ones (`use crate::{rt, sock::pool}`) and `super::super`.
use strict;
use warnings;
use File::Find;

# A layer may import those named here, and itself.
my %may = (
    rt    => [],
    sock  => ['rt'],
    sys   => ['rt', 'sock'],
    vm    => ['rt'],
    conf  => ['rt', 'sys'],
    lua   => ['sock', 'rt', 'sys', 'vm', 'conf'],
    phase => ['rt', 'sock', 'sys', 'vm', 'conf', 'lua'],
);
my $unsafe_ok = qr{^src/(?:sys|vm)/|^src/rt/(?:local|memory)\.rs$|^src/(?:sys|vm|lib)\.rs$|^src/phase/(?:.*/)?(?:commands|module|worker)(?:/|\.rs$)};

my $layer = join '|', sort keys %may;
my $errors = 0;

sub complain {
    my ($file, $text, $pos, $what) = @_;
    my $line = 1 + (substr($text, 0, $pos) =~ tr/\n//);
    print STDERR "$file:$line: $what\n";
    $errors++;
}

# Blanks out comments and literals, keeping every newline where it was.
sub code_only {
    my ($text) = @_;
    my $blank = sub { my $s = shift; $s =~ s/[^\n]/ /g; $s };
    my $comment;    # Rust's block comments nest
    $comment = qr{/\*(?:(?>[^*/]+)|\*(?!/)|/(?!\*)|(??{$comment}))*\*/};
    $text =~ s{
        ( //[^\n]* | $comment
        | \bb?c?r(\#*)".*?"\2
        | "(?:[^"\\]|\\.)*"
        | '(?:[^'\\\n]|\\[^\n]{1,9}?)' )
    }{$blank->($1)}gsex;
    return $text;
}

# The first names of a path or of a group: "a::b" or "{a::b, c::{d, e}}".
sub first_names {
    my ($rest) = @_;
    return $rest =~ /^(?:r#)?(\w+)/ ? ($1) : () unless $rest =~ /^\{/;
    my ($depth, $flat) = (0, '');
    for my $char (split //, $rest) {
        $depth++ if $char eq '{';
        $flat .= $char if $depth == 1;
        $depth-- if $char eq '}';
        last if $depth == 0;
    }
    return map { /^[\s{]*(\w+)/ ? ($1) : () } split /,/, $flat;
}

sub check {
    my ($file) = @_;
    open my $in, '<', $file or die "$file: $!";
    my $code = code_only(do { local $/; <$in> // '' });

    if ($file !~ $unsafe_ok) {
        complain($file, $code, $-[0], '`unsafe` is only for src/sys, src/vm, src/rt/local.rs, src/phase/{commands,module,worker}.rs and src/lib.rs')
            while $code =~ /\bunsafe\b/g;
    }

    my ($self) = $file =~ m{^src/($layer)(?:/|\.rs$)} or return;
    my %ok = map { $_ => 1 } $self, @{ $may{$self} };
    # How many `super::` lead from this file's module to the crate.
    (my $module = $file) =~ s{^src/|(?:/mod)?\.rs$}{}g;
    my $depth = 1 + ($module =~ tr{/}{});

    while ($code =~ /\bcrate::\s*|\b((?:super::\s*)+)/g) {
        my $start = $-[0];
        if (defined $1) {
            my $supers = () = $1 =~ /super/g;
            next if $supers != $depth;
        }
        for my $name (first_names(substr $code, pos $code, 2000)) {
            next if $name !~ /^(?:$layer)$/ || $ok{$name};
            complain($file, $code, $start, "$self may not import $name (only: "
                    . (join(', ', @{ $may{$self} }) || 'nothing') . ')');
        }
    }
}

my @files;
find({ no_chdir => 1, wanted => sub { push @files, $_ if /\.rs$/ } }, 'src') if -d 'src';
check($_) for sort @files;
exit($errors ? 1 : 0);
