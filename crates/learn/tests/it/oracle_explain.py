"""Prints the figures of tests/it/oracle_explain.rs. usage: python oracle_explain.py (needs numpy and scikit-learn; ours was 1.9.1)."""
import numpy as np
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.inspection import permutation_importance, partial_dependence
from sklearn.metrics import roc_curve, roc_auc_score
from sklearn.calibration import calibration_curve
from sklearn.decomposition import PCA
i=np.arange(60)
a=(i*37%101)/10.0; b=(i*53%89)/7.0; c=i%3; noise=(i*29%17)/17.0
y=1.5*a-0.7*b+np.array([0,2,-1.0])[c]+noise
binary=(a-b+8*noise>3).astype(int)
X=np.column_stack([a,b]); 
one=np.eye(3)[c]
M=np.column_stack([a,b,one])
m=LinearRegression().fit(M,y)
# importance of numeric columns by our own permutation of a, b, and c as a whole
base=np.sqrt(np.mean((m.predict(M)-y)**2)); print('base',repr(base))
rng=np.random.RandomState(0)
r=permutation_importance(LinearRegression().fit(X,y),X,y,scoring='neg_root_mean_squared_error',n_repeats=2000,random_state=0)
print('perm',[repr(float(v)) for v in r.importances_mean], r.importances_std)
print('base2',repr(np.sqrt(np.mean((LinearRegression().fit(X,y).predict(X)-y)**2))))
l=LogisticRegression(C=1.0,tol=1e-12,max_iter=10000).fit(X,binary)
r=permutation_importance(l,X,binary,scoring='neg_log_loss',n_repeats=2000,random_state=0)
print('permlog',[repr(float(v)) for v in r.importances_mean], r.importances_std)
pd=partial_dependence(l,X,[0],kind='average',method='brute',response_method='predict_proba',custom_values={0:np.array([0.,2.5,5.,10.])})
print('pd',[repr(float(v)) for v in pd['average'][0]])
p=l.predict_proba(X)[:,1]
fpr,tpr,_=roc_curve(binary,p)
print('roc n',len(fpr)); print([[repr(float(x)),repr(float(t))] for x,t in zip(fpr,tpr)])
print(repr(roc_auc_score(binary,p)))
s=np.round(p*5)/5
fpr,tpr,_=roc_curve(binary,s); print('rounded',s.tolist()[:5]); print([[float(x),float(t)] for x,t in zip(fpr,tpr)], repr(roc_auc_score(binary,s)))
o,pr=calibration_curve(binary,p,n_bins=10); print('cal',o.tolist(),pr.tolist()); print(np.histogram(p,bins=10,range=(0,1))[0])
o,pr=calibration_curve(binary,s,n_bins=10); print('calr',o.tolist(),pr.tolist())
Z=M.copy(); 
w=np.array([1/a.std(),1/b.std()]+[1/np.sqrt(1-3*(1/3)**2)]*3)
P=PCA(2,svd_solver='full').fit(M*w)
print('pca',P.explained_variance_ratio_.tolist()); comp=P.components_.copy(); sc=P.transform(M*w)
for k in range(2):
    sg=np.sign(comp[k][np.argmax(np.abs(comp[k]))]); comp[k]*=sg; sc[:,k]*=sg
print(comp.tolist()); print(sc[:3].tolist())
W=np.array([[ (r*7919*(c+3)*104729%1009)/1009*(1+ (c%5)) + (r%7)*(c%3) for c in range(20)] for r in range(200)])
P=PCA(2,svd_solver='full').fit(W); print('wide',P.explained_variance_ratio_.tolist(), PCA().fit(W).explained_variance_ratio_[:10].tolist())
comp=P.components_.copy(); sc=P.transform(W)
for k in range(2):
    sg=np.sign(comp[k][np.argmax(np.abs(comp[k]))]); comp[k]*=sg; sc[:,k]*=sg
print(sc[:2].tolist(), comp[:,:3].tolist())
print(np.histogram([1,2,2,3.5,5],bins=4),np.histogram([-.3,.1,.7,.7,1.2],bins=5),np.histogram([7,7.],bins=2))
