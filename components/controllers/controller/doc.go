// Package controller is the contract between the controller manager and its controllers: what a controller is
// (Controller), what it is built from (Env), how it listens to informers (Watch) and how it works through keys (Queue).
package controller
