// Package controllers is the kube-controller-manager: it starts one control loop per kind of desired state and serves
// their health and metrics. The loops are the packages below it; catalogue.go lists them all.
package controllers
