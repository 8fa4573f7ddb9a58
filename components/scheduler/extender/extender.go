// Package extender asks programs outside of the scheduler, over HTTP, to filter, score and bind and to take part in
// preemption (KubeSchedulerConfiguration's extenders).
package extender

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/sets"
	restclient "k8s.io/client-go/rest"
	configv1 "k8s.io/kube-scheduler/config/v1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// defaultTimeout bounds a call where the configuration sets no bound.
const defaultTimeout = 5 * time.Second

// Extender is one extender.
type Extender struct {
	cfg     configv1.Extender
	client  http.Client
	managed sets.Set[string]
}

var _ fwk.Extender = &Extender{}

// NewAll makes the configured extenders; those that ignore failures come last, so that the others' verdicts are heard
// before anybody's failure.
func NewAll(list []configv1.Extender) ([]fwk.Extender, error) {
	var strict, ignorable []fwk.Extender
	for i := range list {
		e, err := New(list[i])
		if err != nil {
			return nil, fmt.Errorf("extenders[%d]: %w", i, err)
		}
		if e.IsIgnorable() {
			ignorable = append(ignorable, e)
		} else {
			strict = append(strict, e)
		}
	}
	return append(strict, ignorable...), nil
}

// New makes an extender.
func New(cfg configv1.Extender) (*Extender, error) {
	e := &Extender{cfg: cfg, managed: sets.New[string]()}
	for _, resource := range cfg.ManagedResources {
		e.managed.Insert(resource.Name)
	}
	var secure restclient.Config
	if t := cfg.TLSConfig; t != nil {
		secure.TLSClientConfig = restclient.TLSClientConfig{
			Insecure: t.Insecure, ServerName: t.ServerName,
			CertFile: t.CertFile, KeyFile: t.KeyFile, CAFile: t.CAFile,
			CertData: t.CertData, KeyData: t.KeyData, CAData: t.CAData,
		}
	}
	if cfg.EnableHTTPS && secure.CAFile == "" && len(secure.CAData) == 0 {
		secure.Insecure = true
	}
	settings, err := restclient.TLSConfigFor(&secure)
	if err != nil {
		return nil, err
	}
	e.client.Transport = utilnet.SetTransportDefaults(&http.Transport{TLSClientConfig: settings})
	if e.client.Timeout = cfg.HTTPTimeout.Duration; e.client.Timeout == 0 {
		e.client.Timeout = defaultTimeout
	}
	return e, nil
}

// Name is the extender's URL.
func (e *Extender) Name() string { return e.cfg.URLPrefix }

// IsIgnorable says whether scheduling goes on without the extender when it fails.
func (e *Extender) IsIgnorable() bool { return e.cfg.Ignorable }

// IsBinder says whether the extender binds.
func (e *Extender) IsBinder() bool { return e.cfg.BindVerb != "" }

// IsPrioritizer says whether the extender scores.
func (e *Extender) IsPrioritizer() bool { return e.cfg.PrioritizeVerb != "" }

// IsFilter says whether the extender filters.
func (e *Extender) IsFilter() bool { return e.cfg.FilterVerb != "" }

// SupportsPreemption says whether the extender takes part in preemption.
func (e *Extender) SupportsPreemption() bool { return e.cfg.PreemptVerb != "" }

// IsInterested says whether the pod uses a resource that the extender manages; without such resources, all pods are its business.
func (e *Extender) IsInterested(pod *v1.Pod) bool {
	if len(e.managed) == 0 {
		return true
	}
	for _, list := range [...][]v1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			for _, resources := range [...]v1.ResourceList{list[i].Resources.Requests, list[i].Resources.Limits} {
				for name := range resources {
					if e.managed.Has(string(name)) {
						return true
					}
				}
			}
		}
	}
	return false
}

// arguments names the nodes, or sends them whole to an extender that keeps no cache of them.
func (e *Extender) arguments(pod *v1.Pod, nodes []fwk.NodeInfo) *extenderv1.ExtenderArgs {
	args := &extenderv1.ExtenderArgs{Pod: pod}
	if e.cfg.NodeCacheCapable {
		names := make([]string, len(nodes))
		for i, node := range nodes {
			names[i] = node.Node().Name
		}
		args.NodeNames = &names
		return args
	}
	args.Nodes = &v1.NodeList{Items: make([]v1.Node, len(nodes))}
	for i, node := range nodes {
		args.Nodes.Items[i] = *node.Node()
	}
	return args
}

// Filter asks which nodes the pod fits.
func (e *Extender) Filter(pod *v1.Pod, nodes []fwk.NodeInfo) (kept []fwk.NodeInfo, failed, unresolvable extenderv1.FailedNodesMap, err error) {
	if !e.IsFilter() {
		return nodes, nil, nil, nil
	}
	var answer extenderv1.ExtenderFilterResult
	if err := e.ask(e.cfg.FilterVerb, e.arguments(pod, nodes), &answer); err != nil {
		return nil, nil, nil, err
	}
	if answer.Error != "" {
		return nil, nil, nil, errors.New(answer.Error)
	}
	var names []string
	if e.cfg.NodeCacheCapable && answer.NodeNames != nil {
		names = *answer.NodeNames
	} else if answer.Nodes != nil {
		for i := range answer.Nodes.Items {
			names = append(names, answer.Nodes.Items[i].Name)
		}
	}
	offered := make(map[string]fwk.NodeInfo, len(nodes))
	for _, node := range nodes {
		offered[node.Node().Name] = node
	}
	for _, name := range names {
		node, known := offered[name]
		if !known {
			return nil, nil, nil, fmt.Errorf("extender %q claims a filtered node %q which is not found in the input node list", e.Name(), name)
		}
		kept = append(kept, node)
	}
	return kept, answer.FailedNodes, answer.FailedAndUnresolvableNodes, nil
}

// Prioritize asks for scores, from 0 to 10.
func (e *Extender) Prioritize(pod *v1.Pod, nodes []fwk.NodeInfo) (*extenderv1.HostPriorityList, int64, error) {
	var answer extenderv1.HostPriorityList
	if !e.IsPrioritizer() {
		return &answer, 0, nil
	}
	err := e.ask(e.cfg.PrioritizeVerb, e.arguments(pod, nodes), &answer)
	return &answer, e.cfg.Weight, err
}

// Bind asks the extender to bind.
func (e *Extender) Bind(binding *v1.Binding) error {
	var answer extenderv1.ExtenderBindingResult
	err := e.ask(e.cfg.BindVerb, &extenderv1.ExtenderBindingArgs{
		PodName: binding.Name, PodNamespace: binding.Namespace, PodUID: binding.UID, Node: binding.Target.Name,
	}, &answer)
	if err == nil && answer.Error != "" {
		err = errors.New(answer.Error)
	}
	return err
}

// ProcessPreemption asks which candidates for preemption remain, with which victims.
func (e *Extender) ProcessPreemption(pod *v1.Pod, victims map[string]*extenderv1.Victims, nodes fwk.NodeInfoLister) (map[string]*extenderv1.Victims, error) {
	args := &extenderv1.ExtenderPreemptionArgs{Pod: pod}
	if e.cfg.NodeCacheCapable {
		args.NodeNameToMetaVictims = make(map[string]*extenderv1.MetaVictims, len(victims))
		for node, of := range victims {
			meta := &extenderv1.MetaVictims{NumPDBViolations: of.NumPDBViolations, Pods: []*extenderv1.MetaPod{}}
			for _, victim := range of.Pods {
				meta.Pods = append(meta.Pods, &extenderv1.MetaPod{UID: string(victim.UID)})
			}
			args.NodeNameToMetaVictims[node] = meta
		}
	} else {
		args.NodeNameToVictims = victims
	}
	var answer extenderv1.ExtenderPreemptionResult
	if err := e.ask(e.cfg.PreemptVerb, args, &answer); err != nil {
		return nil, err
	}
	chosen := make(map[string]*extenderv1.Victims, len(answer.NodeNameToMetaVictims))
	for name, meta := range answer.NodeNameToMetaVictims {
		node, err := nodes.Get(name)
		if err != nil {
			return nil, err
		}
		of := &extenderv1.Victims{NumPDBViolations: meta.NumPDBViolations}
		for _, victim := range meta.Pods {
			pod := podOn(node, victim.UID)
			if pod == nil {
				return nil, fmt.Errorf("extender: %v claims to preempt pod (UID: %v) on node: %v, but the pod is not found on that node", e.Name(), victim.UID, name)
			}
			of.Pods = append(of.Pods, pod)
		}
		chosen[name] = of
	}
	return chosen, nil
}

func podOn(node fwk.NodeInfo, uid string) *v1.Pod {
	for _, info := range node.GetPods() {
		if string(info.GetPod().UID) == uid {
			return info.GetPod()
		}
	}
	return nil
}

func (e *Extender) ask(verb string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	url := strings.TrimRight(e.cfg.URLPrefix, "/") + "/" + verb
	response, err := e.client.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("failed %v with extender at URL %v, code %v", verb, url, response.StatusCode)
	}
	return json.NewDecoder(response.Body).Decode(answer)
}
