// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Forms of data movement, asynchronous copy, atomic and barrier-object instructions.
//! The notation is that of [`super`]. Source: PTX ISA manual, sections 9.7.9, 9.7.13.

/// See [`super`].
pub(super) const FORMS: &str = "
ld ~ S?=weak,relaxed,acquire,volatile,mmio SC?=$scope SP?=const,global,local,param,param::entry,param::func,shared,shared::cta,shared::cluster C?=ca,cg,cs,lu,cv .nc? E?=L1::evict_normal,L1::evict_unchanged,L1::evict_first,L1::evict_last,L1::no_allocate F?=L2::evict_normal,L2::evict_first,L2::evict_last .L2::cache_hint? PF?=L2::64B,L2::128B,L2::256B .unified? V?=v2,v4,v8 T=$ldst : =V:~T [] ?u64
ldu ~ SP?=global V?=v2,v4 T=$ldst : =V:~T []
st ~ S?=weak,relaxed,release,volatile,mmio SC?=$scope SP?=global,local,param,param::func,shared,shared::cta,shared::cluster C?=wb,cg,cs,wt E?=L1::evict_normal,L1::evict_unchanged,L1::evict_first,L1::evict_last,L1::no_allocate F?=L2::evict_normal,L2::evict_first,L2::evict_last .L2::cache_hint? V?=v2,v4,v8 T=$ldst : [] V:~T ?u64
st ~ .async .weak? S?=relaxed SC?=cluster SP?=shared::cluster .mbarrier::complete_tx::bytes V?=v2,v4 T=b32,b64,u32,u64,s32,s64,f32,f64 : [] V:~T [] : 8.1 90
prefetch SP?=global,local L=L1,L2 : []
prefetch .global L=L2::evict_last,L2::evict_normal : [] : 7.4 80
prefetch SP?=const,param .tensormap : [] : 8.0 90
prefetchu .L1 : []
applypriority SP?=global .L2::evict_normal : [] i : 7.4 80
discard SP?=global .L2 : [] i : 7.4 80
createpolicy .fractional P=L2::evict_last,L2::evict_normal,L2::evict_first,L2::evict_unchanged Q?=L2::evict_first,L2::evict_unchanged T=b64 : =T ?f32 : 7.4 80
createpolicy .range SP?=global P=L2::evict_last,L2::evict_normal,L2::evict_first,L2::evict_unchanged Q?=L2::evict_first,L2::evict_unchanged T=b64 : =T [] u32 u32 : 7.4 80
createpolicy .cvt .L2 T=b64 : =T u64 : 7.4 80
isspacep SP=const,global,local,param,param::entry,param::func,shared,shared::cta,shared::cluster : =p *
cvta SP=const,global,local,param,param::entry,shared,shared::cta,shared::cluster T=u32,u64 : =T *
cvta .to SP=const,global,local,param,param::entry,shared,shared::cta,shared::cluster T=u32,u64 : =T *
mapa SP?=shared::cluster T=u32,u64 : =T * u32 : 7.8 90
getctarank SP?=shared::cluster T=u32,u64 : =u32 T : 7.8 90
cp .async C=ca,cg SH=shared,shared::cta .global .L2::cache_hint? PF?=L2::64B,L2::128B,L2::256B : [] [] i ?* ?u64 : 7.0 80
cp .async .commit_group : : 7.0 80
cp .async .wait_group : i : 7.0 80
cp .async .wait_all : : 7.0 80
cp .async .mbarrier .arrive .noinc? SP?=shared,shared::cta T=b64 : [] : 7.0 80
cp .async .bulk DS=shared::cluster,shared::cta .global .mbarrier::complete_tx::bytes .multicast::cluster? .L2::cache_hint? : [] [] u32 [] ?* ?u64 : 8.0 90
cp .async .bulk .shared::cluster SS=shared::cta .mbarrier::complete_tx::bytes : [] [] u32 [] : 8.0 90
cp .async .bulk DS=global .shared::cta .bulk_group .L2::cache_hint? .cp_mask? : [] [] u32 ?* ?* : 8.0 90
cp .async .bulk .commit_group : : 8.0 90
cp .async .bulk .wait_group .read? : i : 8.0 90
cp .async .bulk .prefetch .L2 .global .L2::cache_hint? : [] u32 ?u64 : 8.0 90
cp .async .bulk .tensor D=$dims DS=shared::cluster,shared::cta .global M?=tile,im2col .mbarrier::complete_tx::bytes .multicast::cluster? G?=cta_group::1,cta_group::2 .L2::cache_hint? : [] [] [] ?* ?* ?* : 8.0 90
cp .async .bulk .tensor D=$dims DS=global .shared::cta M?=tile,im2col_no_offs .bulk_group .L2::cache_hint? : [] [] ?u64 : 8.0 90
cp .async .bulk .prefetch .tensor D=$dims .L2 .global M?=tile,im2col .L2::cache_hint? : [] ?* ?u64 : 8.0 90
cp .reduce .async .bulk DS=global .shared::cta .bulk_group .L2::cache_hint? O=and,or,xor,add,inc,dec,min,max .noftz? T=f16,bf16,b32,u32,s32,b64,u64,s64,f32,f64 : [] [] u32 ?u64 : 8.0 90
cp .reduce .async .bulk .tensor D=$dims DS=global .shared::cta O=and,or,xor,add,inc,dec,min,max M?=tile,im2col_no_offs .bulk_group .L2::cache_hint? : [] [] ?u64 : 8.0 90
tensormap .replace .tile F=global_address,rank,box_dim,global_dim,global_stride,element_stride,elemtype,interleave_layout,swizzle_mode,fill_mode SP?=global,shared::cta .b1024 T=b32,b64 : [] * ?* : 8.3 90
tensormap .cp_fenceproxy .global .shared::cta .tensormap::generic .release SC=$scope .sync .aligned : [] [] i : 8.3 90
atom ~ S?=relaxed,acquire,release,acq_rel SC?=$scope SP?=global,shared,shared::cta,shared::cluster O=and,or,xor,exch,add,inc,dec,min,max .noftz? .L2::cache_hint? V?=v2,v4,v8 T=b16,b32,b64,b128,u32,u64,s32,s64,f16,f16x2,bf16,bf16x2,f32,f64 : =V:T [] V:T ?u64
atom ~ S?=relaxed,acquire,release,acq_rel SC?=$scope SP?=global,shared,shared::cta,shared::cluster .cas .L2::cache_hint? T=b16,b32,b64,b128 : =T [] T T ?u64
red ~ .async S?=relaxed SC?=cluster SP=shared::cluster .mbarrier::complete_tx::bytes O=and,or,xor,add,inc,dec,min,max T=u32,s32,b32,u64,s64 : [] T [] : 8.1 90
red ~ S?=relaxed,release SC?=$scope SP?=global,shared,shared::cta,shared::cluster O=and,or,xor,add,inc,dec,min,max .noftz? .L2::cache_hint? V?=v2,v4,v8 T=b32,b64,u32,u64,s32,s64,f16,f16x2,bf16,bf16x2,f32,f64 : [] V:T ?u64
mbarrier .init SP?=shared,shared::cta T=b64 : [] u32 : 7.0 80
mbarrier .inval SP?=shared,shared::cta T=b64 : [] : 7.0 80
mbarrier .expect_tx S?=relaxed SC?=cta,cluster SP?=shared,shared::cta,shared::cluster T=b64 : [] u32 : 8.0 90
mbarrier .complete_tx S?=relaxed SC?=cta,cluster SP?=shared,shared::cta,shared::cluster T=b64 : [] u32 : 8.0 90
mbarrier .arrive .expect_tx S?=release,relaxed SC?=cta,cluster SP?=shared,shared::cta,shared::cluster T=b64 : =b64 [] u32 : 8.0 90
mbarrier .arrive S?=release,relaxed SC?=cta,cluster SP?=shared,shared::cta,shared::cluster T=b64 : =b64 [] ?u32 : 7.0 80
mbarrier .arrive .noComplete S?=release SC?=cta,cluster SP?=shared,shared::cta T=b64 : =b64 [] u32 : 7.0 80
mbarrier .arrive_drop .expect_tx S?=release,relaxed SC?=cta,cluster SP?=shared,shared::cta,shared::cluster T=b64 : =b64 [] u32 : 8.0 90
mbarrier .arrive_drop S?=release,relaxed SC?=cta,cluster SP?=shared,shared::cta,shared::cluster T=b64 : =b64 [] ?u32 : 7.0 80
mbarrier .arrive_drop .noComplete S?=release SC?=cta,cluster SP?=shared,shared::cta T=b64 : =b64 [] u32 : 7.0 80
mbarrier .test_wait S?=acquire,relaxed SC?=cta,cluster SP?=shared,shared::cta T=b64 : =p [] b64 : 7.0 80
mbarrier .test_wait .parity S?=acquire,relaxed SC?=cta,cluster SP?=shared,shared::cta T=b64 : =p [] u32 : 7.1 80
mbarrier .try_wait S?=acquire,relaxed SC?=cta,cluster SP?=shared,shared::cta T=b64 : =p [] b64 ?u32 : 7.8 90
mbarrier .try_wait .parity S?=acquire,relaxed SC?=cta,cluster SP?=shared,shared::cta T=b64 : =p [] u32 ?u32 : 7.8 90
mbarrier .pending_count T=b64 : =u32 b64 : 7.0 80
fence S?=sc,acq_rel,acquire,release SC=$scope : : 6.0 70
fence .mbarrier_init .release .cluster : : 8.0 90
fence .proxy .alias : : 7.5 70
fence .proxy .async SP?=global,shared::cta,shared::cluster : : 8.0 90
fence .proxy .async::generic S=acquire,release SY=sync_restrict::shared::cluster,sync_restrict::shared::cta .cluster : : 8.6 90
fence .proxy .tensormap::generic .release SC=$scope : : 8.3 90
fence .proxy .tensormap::generic .acquire SC=$scope : [] i : 8.3 90
membar L=cta,gl,sys :
membar .proxy P=alias,async :
";
