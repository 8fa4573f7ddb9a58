// Package incluster runs a list of behaviours from within the cluster under test: in the
// pods of an Indexed Job, each of which takes its share. The pods print what they find
// out, framed, to their logs; whoever started the run follows these and writes the one
// journal, so that the run is like any other: shown while it goes on, gone on with after
// an interruption, reported from plan and journal.
//
// What must run alone does so in a Job of one pod that begins when the first has ended.
// What a lost pod did not tell of is run again by a further Job, as long as there is
// progress. All that is made lives in one namespace, but for a binding that makes the
// pods administrators; both are removed at the end.
package incluster
